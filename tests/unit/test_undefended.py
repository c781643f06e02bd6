"""What `make undefended` takes away is there, and so are the tests that have to notice: code moves on."""

import re

import pytest

from tests.system import ROOT
from tests.undefended.defence import Defence
from tests.undefended.every import every_defence


@pytest.mark.parametrize("defence", every_defence(), ids=lambda defence: defence.name)
def test_every_defence_stands_where_it_says_and_names_tests(defence: Defence) -> None:
    text = (ROOT / defence.file).read_text(encoding="utf-8")
    assert defence.taken_from(text) != text
    files, _, words = " ".join(defence.tests).partition(" -k ")
    assert files
    found = "".join(
        test.read_text(encoding="utf-8")
        for file in files.split(" ")
        for test in ([ROOT / file] if file.endswith(".py") else (ROOT / file).rglob("test_*.py"))
    )
    for word in words.split(" or ") if words else ["test_"]:
        assert re.search(rf"def test_\w*{word.removeprefix('test_')}", found), word


def test_each_has_a_name_of_its_own() -> None:
    names = [defence.name for defence in every_defence()]
    assert len(names) == len(set(names))
