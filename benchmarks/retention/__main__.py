"""`make bench-retention`: a million old tasks are deleted while others are submitted and run."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from benchmarks.retention.holding import Pass
from benchmarks.retention.index import measure_index
from benchmarks.retention.migrating import measure_migration
from benchmarks.retention.turns import measure, stored
from milepost.cli.dev.command import free_base, run_stand
from milepost.cli.exits import Exit
from milepost.embedded import temporary_home


def main(argv: list[str]) -> int:
    """Run it; return the exit status."""
    asked = _arguments(argv)

    async def body(stand: Any, narrator: Any) -> Exit:
        if asked.index:
            _show(await measure_index(stand.servers["MILEPOST_DATABASE_URL"]), asked.json)
            return Exit.DONE
        held = await Pass.held(stand.servers["MILEPOST_DATABASE_URL"])
        try:
            old = await stored(stand, narrator, asked.old)
            how = {"rate": asked.rate, "seconds": asked.seconds, "rounds": asked.rounds}
            if asked.migration:
                _show(await measure_migration(stand, narrator, **how), asked.json)
            elif asked.rounds:
                _show(await measure(stand, narrator, held, old, **how), asked.json)
        finally:
            await held.close()
        return Exit.DONE

    with _home(asked.home) as home:
        os.environ.update({"MILEPOST_LOG_LEVEL": "warning", "MILEPOST_HOME": str(home)})
        return run_stand({"workers": 1, "notifiers": 1, "port_base": free_base(), "tasks": None}, body)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-retention", description=__doc__)
    parser.add_argument("--old", type=int, default=1_000_000, help="finished tasks to delete")
    parser.add_argument("--rate", type=float, default=200.0, help="submissions a second meanwhile")
    parser.add_argument("--seconds", type=float, default=12.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each kind; 0: only store the old tasks")
    parser.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        help="keep the data there: a second run takes the old tasks that the first has left (storing them takes a "
        "minute, and the disk another). Default: a new one that is removed",
    )
    parser.add_argument(
        "--migration",
        action="store_true",
        help="measure instead how long submissions wait while the indexes of ends are built over the old tasks",
    )
    parser.add_argument(
        "--index", action="store_true", help="measure what the indexes cost those who end tasks instead"
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


@contextmanager
def _home(kept: Path | None) -> Iterator[Path]:
    if kept is None:
        with temporary_home("bench-retention") as home:
            yield home
    else:
        kept.mkdir(parents=True, exist_ok=True)
        kept.chmod(0o755)
        yield kept.absolute()


def _show(figures: Any, json: bool) -> None:
    print(orjson.dumps(asdict(figures)).decode() if json else figures.text())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
