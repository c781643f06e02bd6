"""Start a notifier: `python -m milepost_notifier --role all`."""

import argparse
import sys
from typing import Final

from milepost.errors import MilepostError
from milepost.runtime.health import free_to_share
from milepost.runtime.lifecycle import Shutdown, run
from milepost.runtime.logs import set_up_logs
from milepost.runtime.settings import Settings
from milepost.runtime.side_by_side import run_side_by_side, stop_when_alone
from milepost.runtime.tracing import set_up_tracing, shut_down_tracing
from milepost_notifier.service import build_notifier

COLLECT_AFTER: Final = 2_000
"""Objects. A connection that is refused leaves some in cycles; freeing 57,000 of them at once takes 0.2 s."""


def main(argv: list[str] | None = None) -> int:
    """Run one notifier; return the exit status."""
    parser = argparse.ArgumentParser(prog="milepost notifier", description="Relay live progress to browsers.")
    parser.add_argument(
        "--role", choices=["all", "ingest", "edge"], default="all", help="ingest reads Kafka, edge serves clients"
    )
    parser.add_argument("--processes", type=int, default=1, help="processes to run side by side, on the same ports")
    parser.add_argument("--one-of-many", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    try:
        settings = Settings.load()
        if arguments.processes > 1:
            free_to_share(settings.host, settings.notifier_port, "MILEPOST_NOTIFIER_PORT")
            free_to_share(settings.host, settings.notifier_http_port, "MILEPOST_NOTIFIER_HTTP_PORT")
    except MilepostError as error:
        print(f"milepost notifier: {error}", file=sys.stderr)  # noqa: T201 - to the person who started it
        return 2
    set_up_logs(settings, "notifier")
    if arguments.processes > 1:
        command = [sys.executable, "-m", "milepost_notifier", "--role", arguments.role, "--one-of-many"]
        first = settings.metrics_port
        ports = [{"MILEPOST_METRICS_PORT": str(first + n)} if first else {} for n in range(arguments.processes)]
        return run_side_by_side("notifier", [(command, own) for own in ports])
    traced = set_up_tracing("notifier")

    async def body(shutdown: Shutdown) -> None:
        if arguments.one_of_many:
            stop_when_alone(shutdown)
        async with build_notifier(settings, arguments.role, traced=traced, shared=arguments.one_of_many) as notifier:
            await notifier.run(shutdown)

    try:
        return run(body, collect_after=COLLECT_AFTER)
    finally:
        shut_down_tracing()


if __name__ == "__main__":
    sys.exit(main())
