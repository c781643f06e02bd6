"""`milepost api`, `worker` and `notifier`: start a service that is installed beside us."""

import os
import sys
from importlib.metadata import entry_points

import click

from milepost.errors import SettingsError

_ALL = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
_GROUP = "milepost.services"


def start(name: str, argv: list[str]) -> int:
    """Run the service of that name with its own arguments; return its exit status.

    Services are found by entry point: this package does not import them. Raises SettingsError if it is missing.
    """
    found = entry_points(group=_GROUP, name=name)
    if not found:
        raise SettingsError(f"The {name} is not installed here. Install it with: pip install milepost-{name}")
    # Modules with tasks are found from the folder one stands in, as with `python -m`.
    here = os.getcwd()  # noqa: PTH109 - what sys.path holds are strings
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    status: int = next(iter(found)).load()(argv)
    return status


@click.command(context_settings=_ALL, add_help_option=False)
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
def api(argv: tuple[str, ...]) -> int:
    """Run the HTTP API."""
    return start("api", list(argv))


@click.command(context_settings=_ALL, add_help_option=False)
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
def worker(argv: tuple[str, ...]) -> int:
    """Run workers: --tasks M --queues a,b --concurrency N --processes N."""
    return start("worker", list(argv))


@click.command(context_settings=_ALL, add_help_option=False)
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
def notifier(argv: tuple[str, ...]) -> int:
    """Run the relay to browsers: --role all|ingest|edge --processes N."""
    return start("notifier", list(argv))
