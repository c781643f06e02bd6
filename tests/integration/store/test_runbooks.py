"""What pages for the night tell operators to ask of Postgres can be asked of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from milepost.store.connection import Pool
from tests.system import ROOT

pytestmark = pytest.mark.stack

PAGES: Final = sorted((ROOT / "docs/runbooks").glob("*.md"))
_INDENTED: Final = re.compile(r"(?:^ {7,}\S.*\n)+", re.MULTILINE)
_IN_A_LINE: Final = re.compile(r"`(select [^`]+)`")


def statements(page: Path) -> Iterator[str]:
    """Yield the statements of a page."""
    text = page.read_text(encoding="utf-8")
    for found in (*_INDENTED.findall(text), *_IN_A_LINE.findall(text)):
        yield found.strip().rstrip(";").replace("PID", "0")


async def test_each_statement_of_a_page_can_be_asked(pool: Pool) -> None:
    found = [(page.name, statement) for page in PAGES for statement in statements(page)]
    assert len(found) >= 7
    for name, statement in found:
        try:
            await pool.execute(f"explain {statement}")
        except Exception as error:
            error.add_note(f"{name}: {statement}")
            raise
