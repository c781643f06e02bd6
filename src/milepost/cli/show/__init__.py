"""Live progress: bars on a terminal, lines elsewhere, JSON for programs."""

import sys
from typing import Final

import click

from milepost.cli.show.view import View

TAIL: Final = 100
"""So many lines and chunks of before are shown with `--logs`."""
logs_option = click.option("--logs", is_flag=True, help="Show what the tasks log and emit too.")


def make_view(*, as_json: bool = False, logs: bool = False) -> View:
    """Return the view that suits where the output goes; `logs`: with what tasks stream, which JSON always has."""
    if as_json:
        from milepost.cli.show.lines import JsonLines

        return JsonLines()
    if sys.stdout.isatty():
        from milepost.cli.show.bars import Bars

        return Bars(logs=logs)
    from milepost.cli.show.lines import Lines

    return Lines(logs=logs)


__all__ = ["TAIL", "View", "logs_option", "make_view"]
