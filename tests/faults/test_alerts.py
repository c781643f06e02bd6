"""Each alert fires when what it watches is broken in a running system, and is silent before and after."""

import time
from pathlib import Path

import pytest
import yaml

import tests.faults.breaking
import tests.faults.overspending  # noqa: F401 - they say what breaks what
from deploy.observability.objectives import OBJECTIVES
from tests.faults.broken import ALL_BREAKS
from tests.faults.conftest import Stage
from tests.pager import Told, paged
from tests.prometheus import RULES, prometheus_of
from tests.system import ROOT

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.long, pytest.mark.timeout(600)]


def test_each_alert_has_something_that_breaks_what_it_watches() -> None:
    rules = [
        rule
        for file in RULES.glob("*.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]
    assert {rule["alert"] for rule in rules if "alert" in rule} == {broken.alert for broken in ALL_BREAKS.values()}
    for alert in ("MilepostBudgetBurnsFast", "MilepostBudgetBurnsSlow"):
        broken = {each.objective for each in ALL_BREAKS.values() if each.alert == alert}
        assert broken == {objective.name for objective in OBJECTIVES}


@pytest.mark.parametrize("name", ALL_BREAKS)
async def test_it_fires(name: str, stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = ALL_BREAKS[name]
    async with (
        paged() as pager,
        stage(watchers=1, metrics=True, env=dict(broken.env)) as scene,
        prometheus_of(scene.system, tmp_path, times=broken.times, pager=pager),
        scene.system.client() as client,
    ):
        told: list[Told] = []

        def fires(firing: list[Told]) -> bool:
            told[:] = [each for each in firing if broken.concerns(each.labels)]
            return bool(told)

        def silent(firing: list[Told]) -> bool:
            return not any(broken.concerns(each.labels) for each in firing)

        # Not at once: until the first look at each process there is none.
        await pager.until(silent, f"{name} to be silent while all is well", 30)
        began = time.monotonic()
        async with broken.breaks(scene, client):
            await pager.until(fires, f"{name} to fire", 150)
            fired_s = time.monotonic() - began
        (first, *_) = told
        mended = time.monotonic()
        await pager.until(silent, f"{name} to end", 240)
        ended_s = time.monotonic() - mended
    assert (ROOT / first.texts["runbook"]).exists()
    for text in first.texts.values():
        assert "<" not in text, f"a value is missing: {text}"
        assert "%!" not in text, f"a value is none: {text}"
    times = f"fired after {fired_s:.0f} s, over {ended_s:.0f} s after it was mended (at {broken.times} times the pace)"
    with capsys.disabled():
        print(f"\n{name}: {times}\n  {first.texts['summary']}. {first.texts['description']}")  # noqa: T201
