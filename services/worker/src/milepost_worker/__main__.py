"""Start workers: `python -m milepost_worker --tasks my.tasks`."""

import argparse
import os
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

from milepost.errors import MilepostError
from milepost.runtime.lifecycle import Shutdown, leave_threads, run
from milepost.runtime.logs import get_logger, set_up_logs
from milepost.runtime.settings import Settings
from milepost.runtime.tracing import set_up_tracing, shut_down_tracing
from milepost.tasks.registry import load
from milepost_worker.execution.printed import heard
from milepost_worker.service import serve

log = get_logger("milepost.worker.main")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="milepost worker", description="Run tasks.")
    parser.add_argument("--tasks", help="modules with tasks, separated by commas (MILEPOST_TASKS)")
    parser.add_argument("--queues", help="queues to serve, separated by commas (default: those of the tasks)")
    parser.add_argument("--concurrency", type=int, help="tasks each process runs at once (MILEPOST_CONCURRENCY)")
    parser.add_argument("--processes", type=int, default=1, help="worker processes to run side by side")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run one worker, or several side by side; return the exit status."""
    arguments = _arguments(sys.argv[1:] if argv is None else argv)
    chosen = {name: getattr(arguments, name) for name in ("tasks", "queues", "concurrency")}
    overrides: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    # Task modules of an application are found from the folder it is started in, as with `python -m`.
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        settings = Settings.load(**overrides)
        registry = load(settings.tasks)
        set_up_logs(settings, "worker")
        if arguments.processes > 1:
            return _side_by_side(overrides, arguments.processes, settings)
        set_up_tracing("worker")

        async def body(shutdown: Shutdown) -> None:
            with heard(settings.log_level):
                await serve(settings, registry, settings.tasks, shutdown)

        status = run(body)
    except MilepostError as error:
        print(f"milepost worker: {error}", file=sys.stderr)  # noqa: T201 - to the person who started it
        return 2
    finally:
        shut_down_tracing()
    leave_threads(status)
    return status


def _side_by_side(overrides: dict[str, Any], count: int, settings: Settings) -> int:
    """Keep `count` worker processes alive; signals are passed on, a second one too.

    Each listens on ports of its own, from those of the settings on; None or 0 stands for all.
    """
    argv = [sys.executable, "-m", "milepost_worker"]
    for name, value in overrides.items():
        argv += [f"--{name}", str(value)]
    stopping = False

    def start(index: int) -> subprocess.Popen[bytes]:
        first = {
            "MILEPOST_WORKER_HTTP_PORT": settings.worker_http_port, "MILEPOST_METRICS_PORT": settings.metrics_port
        }  # fmt: skip
        ports = {name: str(port + index) for name, port in first.items() if port}
        return subprocess.Popen(argv, env=os.environ | ports)

    children = [start(index) for index in range(count)]

    def pass_on(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    while not stopping:
        for index, child in enumerate(children):
            if child.poll() is not None and not stopping:
                log.error("a worker process ended and is started again", pid=child.pid, status=child.returncode)
                children[index] = start(index)
        time.sleep(0.5)
    return max(abs(child.wait()) for child in children)


if __name__ == "__main__":
    sys.exit(main())
