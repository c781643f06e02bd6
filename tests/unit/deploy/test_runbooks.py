"""What a page for the night names is there: panels, metrics, commands with their options."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

import milepost.runtime.metrics.catalogue  # noqa: F401 - declares them
from deploy.observability.dashboards import DASHBOARDS
from deploy.observability.objectives import rules
from milepost.cli.__main__ import milepost as program
from milepost.runtime.metrics.instruments import Histogram, Instrument
from tests.system import ROOT

PAGES: Final = sorted((ROOT / "docs/runbooks").glob("*.md"))
PARTS: Final = ("**What it means.** ", "**Who feels it.** ", "## Look\n", "## Do\n", "## Over\n")
_NAMED: Final = re.compile(r"(?<!\*)\*([^*\n]+)\*(?!\*)")
_OTHERS: Final = {"Targets", "running", "tasks", "presence", "kafka", "outbox"}
"""A page of Prometheus, a state, and lines of `milepost doctor`."""
_CODE: Final = re.compile(r"`([^`\n]+)`")
_METRIC: Final = re.compile(r"\bmilepost[_:][a-z0-9_:]+")


def by_name(page: Path) -> str:
    return page.stem


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_a_page_says_all_that_is_asked_at_night(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    places = [text.find(part) for part in PARTS]
    assert -1 not in places, f"{page.name} does not say: {PARTS[places.index(-1)].strip()}"
    assert places == sorted(places)


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_panels_that_a_page_names_are_there(page: Path) -> None:
    panels = {panel.title for dashboard in DASHBOARDS for _, row in dashboard.rows for panel in row}
    titles = {dashboard.title for dashboard in DASHBOARDS}
    named = set(_NAMED.findall(page.read_text(encoding="utf-8")))
    assert {name for name in named if name.startswith("Milepost: ")} <= titles
    assert named & titles, f"{page.name} names no dashboard"
    assert named & panels, f"{page.name} names no panel"
    assert named <= titles | panels | _OTHERS, named - titles - panels


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_metrics_that_a_page_asks_for_are_there(page: Path) -> None:
    known = {rule["record"] for group in rules()["groups"] for rule in group["rules"] if "record" in rule}
    for instrument in Instrument.made:
        ends = ("_bucket", "_count", "_sum") if isinstance(instrument, Histogram) else ("",)
        known |= {instrument.name + end for end in ends}
    for name in _METRIC.findall(page.read_text(encoding="utf-8")):
        assert name in known, f"{page.name} asks for {name}, which nobody says"


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of ours, without those that stand for something."""
    for code in _CODE.findall(text):
        words = code.split()
        if words[0] == "milepost" and len(words) > 1:
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_commands_that_a_page_tells_can_be_given(page: Path) -> None:
    context = click.Context(program)
    for words in commands(page.read_text(encoding="utf-8")):
        command: click.Command = program
        rest = list(words)
        while isinstance(command, click.Group) and rest:
            found = command.get_command(context, rest.pop(0))
            assert found is not None, f"{page.name}: there is no milepost {' '.join(words)}"
            command = found
        if words[0] == "worker":  # its options are the service's
            continue
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        for word in rest:
            assert not word.startswith("--") or word in options, f"{page.name}: milepost {' '.join(words)}"
