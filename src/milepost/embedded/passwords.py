"""Generated passwords, kept in files that only their owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def keep_secret(path: Path) -> str:
    """Return the password in a file, generating it the first time."""
    try:
        kept = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        kept = ""
    if not kept:
        kept = secrets.token_hex(16)
        write_private(path, f"{kept}\n")
    return kept


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read (mode 0600), in one step."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    scratch.replace(path)
