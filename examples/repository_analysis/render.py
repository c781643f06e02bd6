"""A report as something rich prints: compact, and safe for a terminal whatever the repository holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.repository_analysis.models import Mark, Report, Tally

_COLUMNS = (
    ("files", "Files"),
    ("suites", "Suites"),
    ("cases", "Tests"),
    ("subtests", "Subtests"),
    ("benchmarks", "Bench"),
    ("fuzz_tests", "Fuzz"),
    ("examples", "Ex."),
    ("parameterised", "Param"),
    ("skipped", "Skip"),
    ("conditional", "Cond"),
    ("expected_to_fail", "Xfail"),
    ("focused", "Focus"),
)
_STYLES = {"cases": "bold", "skipped": "yellow", "conditional": "yellow", "focused": "bold red", "files": "dim"}
_BAR_WIDTH = 14
_WIDEST = 120


@dataclass(frozen=True, slots=True)
class ReportView:
    """A report that fits itself to the width it is printed in."""

    report: Report
    rows: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        report, width = self.report, min(options.max_width, _WIDEST)
        yield _header(report, width)
        if report.frameworks:
            named = [(tally.framework.value, tally) for tally in report.frameworks]
            yield Text()
            yield _tallies(named, report.total if len(named) > 1 else None)
            yield Text()
            yield _directories(report, self.rows, width)
        for heading, style, marks, rows in (
            ("Focused, so that nothing else runs", "bold red", report.focused, self.rows),
            ("Skipped", "bold yellow", report.skipped, self.rows),
            ("Skipped sometimes", "yellow", report.conditional, self.rows // 2),
        ):
            lines = [(f"{mark.path}:{mark.line}", _described(mark, width)) for mark in marks.shown[:rows]]
            if lines:
                yield from _list(heading, style, marks.total, lines, width)
        problems = [(p.path, Text(printable(p.problem))) for p in report.problems.shown[: self.rows]]
        if problems:
            yield from _list("Not fully read", "magenta", report.problems.total, problems, width)


def render_report(report: Report, *, rows: int = 8) -> RenderableType:
    """The report for a terminal; each list is cut to that many rows and says how many there are."""
    return ReportView(report, rows)


def printable(words: str, most: int | None = None) -> str:
    """The words without what could steer a terminal, shortened at the start to at most so many characters."""
    clean = "".join(character if character.isprintable() else "�" for character in words)
    return clean if most is None or len(clean) <= most else "…" + clean[1 - most :]


def _header(report: Report, width: int) -> Panel:
    tests = report.total
    text = Text(overflow="fold")
    text.append(f"{printable(report.ref)} ", "cyan").append(report.commit[:10], "yellow")
    if report.committed_at is not None:
        text.append(f"  {report.committed_at:%Y-%m-%d}", "dim")
    subject = printable(report.subject)
    room = max(20, width - text.cell_len - 6)
    text.append(f"  {subject if len(subject) <= room else subject[: room - 1] + '…'}\n")
    if report.frameworks:
        text.append(_counted(tests.cases, "test"), "bold green").append(f" in {_counted(tests.files, 'file')}")
        for count, word, style in (
            (tests.skipped, "skipped", "yellow"),
            (tests.focused, "focused", "bold red"),
            (report.problems.total, "not fully read", "magenta"),
        ):
            if count:
                text.append(" · ").append(f"{count:,} {word}", style)
    else:
        text.append("No tests were found", "bold yellow")
    rate = report.sources / report.seconds if report.seconds else 0
    text.append(
        f"\n{_counted(report.files, 'file')}, {report.sources:,} read ({report.bytes_read / 2**20:.1f} MiB),"
        f" {report.parsed:,} parsed in {report.seconds:.2f} s · {rate:,.0f} files/s",
        "dim",
    )
    title = Text(printable(report.repository, width - 8), "bold")
    return Panel(text, title=title, title_align="left", box=box.ROUNDED, border_style="blue", expand=False)


def _tallies(named: Sequence[tuple[str, Tally]], total: Tally | None) -> Table:
    """A row for each framework; columns nobody has anything in are left out."""
    columns = [
        (field, label) for field, label in _COLUMNS if field == "cases" or any(getattr(t, field) for _, t in named)
    ]
    table = _table()
    table.add_column("Framework", no_wrap=True)
    for field, label in columns:
        table.add_column(label, justify="right", style=_STYLES.get(field), no_wrap=True)
    for name, tally in named:
        table.add_row(name, *(_count(getattr(tally, field)) for field, _ in columns))
    if total is not None:
        table.add_row("Total", *(_count(getattr(total, field)) for field, _ in columns), style="bold")
    return table


def _directories(report: Report, rows: int, width: int) -> Table:
    shown = report.directories[:rows]
    most = max((_all_tests(tally) for tally in shown), default=1)
    others = _BAR_WIDTH + 25 + max((len(", ".join(tally.frameworks)) for tally in shown), default=0)
    table = _table()
    table.add_column(f"Directory ({_of(len(shown), report.directories_total)})", no_wrap=True)
    table.add_column("Tests", justify="right", style="bold", no_wrap=True)
    table.add_column("", style="green", no_wrap=True)
    table.add_column("Skip", justify="right", style="yellow", no_wrap=True)
    table.add_column("Framework", style="dim", no_wrap=True)
    for tally in shown:
        bar = "█" * max(1, round(_BAR_WIDTH * _all_tests(tally) / most))
        name = Text(printable(tally.directory, max(20, width - others)))
        table.add_row(name, f"{_all_tests(tally):,}", bar, _count(tally.skipped), ", ".join(tally.frameworks))
    return table


def _described(mark: Mark, width: int) -> Text:
    """What is marked: the innermost names are the ones that matter."""
    reason = f"  {printable(mark.reason)}" if mark.reason else ""
    text = Text(printable(mark.name, max(width // 3, width * 3 // 5 - 3 - len(reason))))
    if mark.cases != 1:
        text.append(f"  ({mark.cases:,} tests)", "dim")
    return text.append(reason, "dim italic")


def _list(heading: str, style: str, total: int, lines: Sequence[tuple[str, Text]], width: int) -> list[RenderableType]:
    places = [printable(place, width * 2 // 5) for place, _ in lines]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="cyan", min_width=max(map(len, places)))
    table.add_column(no_wrap=True, overflow="ellipsis")
    for place, (_, words) in zip(places, lines, strict=True):
        table.add_row(Text(place), words)
    return [Text(f"\n{heading} ({_of(len(lines), total)})", style), table]


def _table() -> Table:
    return Table(box=box.SIMPLE, show_edge=False, header_style="bold", pad_edge=False, title="", padding=(0, 1))


def _of(shown: int, total: int) -> str:
    return f"{total:,}" if shown == total else f"{shown} of {total:,}"


def _all_tests(tally: Tally) -> int:
    return tally.cases + tally.subtests + tally.benchmarks + tally.fuzz_tests + tally.examples


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _count(number: int) -> Text:
    return Text(f"{number:,}") if number else Text("·", "dim")
