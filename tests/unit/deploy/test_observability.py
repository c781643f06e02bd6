"""What operators are told: alerts, their pages, dashboards, and that all of it speaks of metrics that exist."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

import milepost.runtime.metrics.catalogue  # noqa: F401 - declares them
from deploy.observability.__main__ import files
from deploy.observability.dashboards import DASHBOARDS, queries
from milepost.runtime.metrics.instruments import Histogram, Instrument
from tests.system import ROOT

RULES: Final = ROOT / "deploy/prometheus/rules"
TESTS: Final = ROOT / "deploy/prometheus/tests"
RUNBOOKS: Final = ROOT / "docs/runbooks"
_SELECTOR: Final = re.compile(r"\b(milepost_\w+)(?:\{([^}]*)\})?")
_LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_OF_SCRAPES: Final = {"job", "instance", "le"}


def _rules() -> Iterator[dict[str, Any]]:
    for file in sorted(RULES.glob("*.yml")):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def _alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in _rules() if "alert" in rule}


def _promtool(*arguments: str) -> str:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    pages = {file.stem for file in RUNBOOKS.glob("*.md")}
    assert pages == set(_alerts())
    for name, rule in _alerts().items():
        page = ROOT / rule["annotations"]["runbook"]
        assert page == RUNBOOKS / f"{name}.md"
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {name}\n")
        for part in ("**Who feels it.**", "## Look", "## Do"):
            assert part in text, f"{page} does not say: {part}"
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_links_between_pages_lead_somewhere() -> None:
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} leads to {target}"


def test_each_alert_is_tested_and_fires_for_what_it_watches_alone() -> None:
    tested = [file.read_text(encoding="utf-8") for file in TESTS.glob("*.yml")]
    for name in _alerts():
        assert any(f'ALERTS{{alertname="{name}",' in text for text in tested), f"no test of {name}"
    _promtool("check", "rules", *map(str, sorted(RULES.glob("*.yml"))))
    _promtool("test", "rules", *map(str, sorted(TESTS.glob("*.yml"))))


def _spoken_of() -> Iterator[tuple[str, str]]:
    for rule in _rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for dashboard in DASHBOARDS:
        for query in queries(dashboard):
            yield dashboard.uid, query


def test_every_metric_and_label_that_is_asked_for_exists() -> None:
    known: dict[str, set[str]] = {}
    for instrument in Instrument.made:
        names = ("_bucket", "_count", "_sum") if isinstance(instrument, Histogram) else ("",)
        known |= {instrument.name + end: set(instrument.label_names) | _OF_SCRAPES for end in names}
    assert len(known) > 40
    for where, query in _spoken_of():
        for name, labels in _SELECTOR.findall(query):
            assert name in known, f"{where} asks for {name}, which no service says"
            for label in _LABEL.findall(labels):
                assert label in known[name], f"{where} asks for {name} by {label}, which it does not have"


def test_what_is_made_of_code_is_as_the_code_makes_it() -> None:
    for file, text in files():
        assert file.read_text(encoding="utf-8") == text, f"{file.name} is old. Run: make dashboards"


def test_no_panel_leaves_its_reader_alone() -> None:
    for dashboard in DASHBOARDS:
        titles = [panel.title for _, panels in dashboard.rows for panel in panels]
        assert len(titles) == len(set(titles)), f"{dashboard.title} has two panels of one name"
        assert dashboard.says
    assert len({Path(d.uid).name for d in DASHBOARDS}) == len(DASHBOARDS)
