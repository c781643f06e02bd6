"""Each alert fires when what it watches is broken in a running system, and is silent before and after."""

from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.conftest import eventually
from tests.faults.breaking import ALL_BREAKS
from tests.faults.conftest import Stage
from tests.prometheus import RULES, prometheus_of

pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.long, pytest.mark.timeout(600)]

TIMES: Final = 30
"""Two minutes are four seconds. Whole days do not pass, so of the slow budget the part is tried that has."""


def test_each_alert_has_something_that_breaks_what_it_watches() -> None:
    rules = [
        rule
        for file in RULES.glob("*.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]
    assert {rule["alert"] for rule in rules if "alert" in rule} == set(ALL_BREAKS)


@pytest.mark.parametrize("alert", ALL_BREAKS)
async def test_it_fires(alert: str, stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = ALL_BREAKS[alert]
    async with (
        stage(watchers=1, metrics=True, env=dict(broken.env)) as scene,
        prometheus_of(scene.system, tmp_path, times=TIMES) as prometheus,
        scene.system.client() as client,
    ):

        async def fires() -> bool:
            return bool(await prometheus.firing(alert))

        async def silent() -> bool:
            return not await prometheus.firing(alert)

        # Not at once: until the first look at each process there is none.
        await eventually(silent, f"{alert} to be silent while all is well", 30)
        async with broken.breaks(scene, client):
            await eventually(fires, f"{alert} to fire", 150)
            told = await prometheus.firing(alert)
        await eventually(silent, f"{alert} to end: {told}", 240)
        with capsys.disabled():
            print(f"\n{alert}: {told[0]}")  # noqa: T201
