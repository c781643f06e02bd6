"""What `docker compose run --rm demo` does: submit an analysis, watch it live, print its report.

    python demo.py [REPOSITORY] [--ref REF]

The address and the key come from MILEPOST_URL, MILEPOST_STREAM_URL and MILEPOST_API_KEY.
"""
# ruff: noqa: INP001 - a script that the image holds, not a module of a package

import argparse
import asyncio
import sys

from rich.console import Console

from examples.repository_analysis import Report, render_report
from milepost.cli.exits import exit_of
from milepost.cli.follow import follow
from milepost.cli.show import make_view
from milepost.client import Client
from milepost.errors import MilepostError
from milepost_schemas.task import TaskState


async def demo(repository: str, ref: str) -> int:
    """Return the exit status: 0 after a report, 1 if the task failed."""
    async with Client() as client:
        run = await client.submit("repository.analyse", {"repository": repository, "ref": ref})
        sys.stdout.write(f"Accepted as task {run.id}\n")
        sys.stdout.flush()
        ended = await follow(client, [run], make_view())
        if run.task.state is TaskState.SUCCEEDED:
            Console().print(render_report(await run.result(Report)))
    return ended


def main() -> int:
    """Read the arguments and run; return the exit status."""
    parser = argparse.ArgumentParser(prog="demo", description="Analyse the tests of a git repository as a task.")
    parser.add_argument("repository", nargs="?", default="/repository", help="a path in the worker, or a URL")
    parser.add_argument("--ref", default="HEAD", help="branch, tag or commit (default: HEAD)")
    given = parser.parse_args()
    try:
        return asyncio.run(demo(given.repository, given.ref))
    except MilepostError as error:
        sys.stderr.write(f"demo: {error}\n")
        return exit_of(error)


if __name__ == "__main__":
    sys.exit(main())
