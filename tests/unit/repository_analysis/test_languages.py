"""Encodings and syntax trees."""

import codecs

import pytest

from examples.repository_analysis.languages import parse, to_utf8


@pytest.mark.parametrize(
    ("data", "text", "oddity"),
    [
        (b"a = 1\r\n", "a = 1\r\n", None),
        (b"", "", None),
        ("é".encode(), "é", None),
        (codecs.BOM_UTF8 + b"a", "a", None),
        (codecs.BOM_UTF16_LE + "é".encode("utf-16-le"), "é", None),
        (b"# -*- coding: latin-1 -*-\n\xe9", "# -*- coding: latin-1 -*-\né", None),
        (b"#!/x\n# coding=cp1252\n\x80", "#!/x\n# coding=cp1252\n€", None),
        (b"\xe9", "é", "not UTF-8; read as Latin-1"),
        (b"# coding: nonsense\n\xe9", "# coding: nonsense\né", "not nonsense; read as Latin-1"),
        (b"# coding: utf-8\n\xe9", "# coding: utf-8\né", "not utf-8; read as Latin-1"),
        (b"\xff\x00\x01", "", "binary"),
    ],
)
def test_any_bytes_become_utf8(data: bytes, text: str, oddity: str | None) -> None:
    assert to_utf8(data) == (text.encode(), oddity)


def test_the_first_line_that_is_not_understood_is_told() -> None:
    assert parse("a.py", b"a = 1\nb = 2\n")[1] is None
    assert parse("a.py", b"a = 1\ndef f(:\n    pass\n")[1] == 2


def test_flow_types_in_javascript_are_understood() -> None:
    assert parse("a.test.js", b"const f = (a: number): string => `${a}`;\n")[1] is None


def test_jsx_in_a_plain_typescript_file_is_understood() -> None:
    assert parse("a.test.ts", b"const a: A = <b c={1}>d</b>;\n")[1] is None


def test_a_file_of_no_known_language_has_no_tree() -> None:
    with pytest.raises(KeyError):
        parse("a.txt", b"")
