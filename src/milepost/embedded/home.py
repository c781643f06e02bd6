"""Homes that last no longer than what runs in them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def temporary_home(name: str) -> Iterator[Path]:
    """Give a new directory for the block and remove it afterwards, with all data of the servers.

    Postgres' own account can pass through it, which it cannot where only we may: its data would be placed elsewhere
    then (see `postgres_account`) and stay there.
    """
    home = Path(tempfile.mkdtemp(prefix=f"milepost-{name}-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        # Servers that were killed may still be writing their last file.
        shutil.rmtree(home, ignore_errors=True)
