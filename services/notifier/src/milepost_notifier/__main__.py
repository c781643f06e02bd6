"""Start a notifier: `python -m milepost_notifier --role all`."""

import argparse
import sys

from milepost.errors import MilepostError
from milepost.runtime.lifecycle import Shutdown, run
from milepost.runtime.logs import set_up_logs
from milepost.runtime.settings import Settings
from milepost.runtime.tracing import set_up_tracing, shut_down_tracing
from milepost_notifier.service import build_notifier


def main(argv: list[str] | None = None) -> int:
    """Run one notifier; return the exit status."""
    parser = argparse.ArgumentParser(prog="milepost notifier", description="Relay live progress to browsers.")
    parser.add_argument(
        "--role", choices=["all", "ingest", "edge"], default="all", help="ingest reads Kafka, edge serves clients"
    )
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    try:
        settings = Settings.load()
    except MilepostError as error:
        print(f"milepost notifier: {error}", file=sys.stderr)  # noqa: T201 - to the person who started it
        return 2
    set_up_logs(settings, "notifier")
    traced = set_up_tracing("notifier")

    async def body(shutdown: Shutdown) -> None:
        async with build_notifier(settings, arguments.role, traced=traced) as notifier:
            await notifier.run(shutdown)

    try:
        return run(body)
    finally:
        shut_down_tracing()


if __name__ == "__main__":
    sys.exit(main())
