"""Take a picture of what a command shows in a terminal: `make pictures`.

    python docs/pictures/terminal.py OUT.svg COLUMNS ROWS "TEXT TO WAIT FOR" COMMAND...

The command runs in a terminal of that size. When the text is on its screen, the picture is taken and Ctrl-C sent.
"""

import fcntl
import io
import os
import pty
import signal
import struct
import sys
import termios
import time
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

PATIENCE_S = 180.0
GRACE_S = 30.0


def show(screen: pyte.Screen, command: str) -> Text:
    """Return a screen as rich has it, below the command that made it."""
    text = Text(f"$ {command}\n", style="bold")
    last = max((row for row, line in enumerate(screen.display) if line.strip()), default=-1)
    for row in range(last + 1):
        cells = [screen.buffer[row][column] for column in range(screen.columns)]
        for style, run in groupby(cells, _style):
            text.append("".join(cell.data for cell in run), style=style)
        text.rstrip()
        text.append("\n")
    return text


def _style(cell: pyte.screens.Char) -> str:
    words = ["bold"] * cell.bold + ["italic"] * cell.italics + ["underline"] * cell.underscore
    if cell.fg != "default":
        words.append(_colour(cell.fg))
    return " ".join(words) or "not bold"


def _colour(name: str) -> str:
    """Return pyte's name of a colour as rich knows it."""
    if len(name) == 6 and all(digit in "0123456789abcdef" for digit in name):
        return f"#{name}"
    return {"brown": "yellow"}.get(name, name.replace("bright", "bright_", 1) if name.startswith("bright") else name)


def main(out: str, columns: int, rows: int, wanted: str, command: list[str]) -> int:
    """Run, wait, draw; return the exit status: 1 if the text never came."""
    pid, terminal = pty.fork()
    if pid == 0:
        for name in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS"):  # or a make in it would say that it is in another
            os.environ.pop(name, None)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows)}
        os.execvp(command[0], command)  # noqa: S606 - the command is ours
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    deadline = time.monotonic() + PATIENCE_S
    seen = False
    while not seen and time.monotonic() < deadline:
        try:
            stream.feed(os.read(terminal, 65536))
        except OSError:  # it has ended
            break
        seen = any(wanted in line for line in screen.display)
    os.killpg(pid, signal.SIGINT)
    picture = show(screen, " ".join(command))
    ended = time.monotonic() + GRACE_S
    while time.monotonic() < ended:
        try:
            os.read(terminal, 65536)
        except OSError:
            break
    os.waitpid(pid, 0)
    if not seen:
        sys.stderr.write("\n".join(screen.display))
        return 1
    console = Console(record=True, width=columns, file=io.StringIO(), color_system="truecolor")
    console.print(picture, end="")
    Path(out).write_text(console.export_svg(title=""), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:]))
