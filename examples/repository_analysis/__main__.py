"""`python -m examples.repository_analysis PATH [--ref REF]`: the same analysis without any server."""

import argparse
import asyncio
import sys

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.repository_analysis.errors import RepositoryError
from examples.repository_analysis.models import AnalyseRepository, Report
from examples.repository_analysis.render import printable, render_report
from examples.repository_analysis.run import analyse_repository


def main() -> int:
    """Run the command line; 0 with a report, 1 without, 2 for an address or ref that is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.repository_analysis", description="Find the tests of a git repository."
    )
    parser.add_argument("repository", help="a path, or a https://, ssh:// or git@host:path address")
    parser.add_argument("--ref", default="HEAD", help="branch, tag or commit (default: HEAD)")
    parser.add_argument("--rows", type=int, default=8, help="rows in each list (default: 8)")
    parser.add_argument("--cases", action="store_true", help="with --json: every single case")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    given = parser.parse_args()
    console = Console(stderr=True)
    try:
        request = AnalyseRepository(repository=given.repository, ref=given.ref, include_cases=given.cases)
        report = asyncio.run(_analyse(request, console))
    except ValidationError as error:
        console.print(f"Refused: {error.errors()[0]['msg']}", markup=False, style="red")
        return 2
    except RepositoryError as error:
        console.print(printable(str(error)), markup=False, style="red")
        return 1
    if given.json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        Console().print(render_report(report, rows=given.rows))
    return 0


async def _analyse(request: AnalyseRepository, console: Console) -> Report:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("", total=None)

        def progress(done: int, total: int | None, message: str) -> None:
            bars.update(bar, completed=done, total=total, description=printable(message, 60))

        return await analyse_repository(request, progress)


if __name__ == "__main__":
    sys.exit(main())
