"""Live progress: bars on a terminal, lines elsewhere, JSON for programs."""

import sys

from milepost.cli.show.view import View


def make_view(*, as_json: bool = False) -> View:
    """Return the view that suits where the output goes."""
    if as_json:
        from milepost.cli.show.lines import JsonLines

        return JsonLines()
    if sys.stdout.isatty():
        from milepost.cli.show.bars import Bars

        return Bars()
    from milepost.cli.show.lines import Lines

    return Lines()


__all__ = ["View", "make_view"]
