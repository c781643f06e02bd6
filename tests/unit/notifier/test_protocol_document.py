"""docs/protocol.md says what the code does."""

import re
from pathlib import Path

from milepost_notifier import following, session
from milepost_schemas.event import EventKind
from milepost_schemas.frames import CLIENT_FRAME, SERVER_FRAME, CloseCode, reconnects

DOCUMENT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return DOCUMENT.split(f"## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_close_codes_is_the_one_in_code() -> None:
    written = {int(row[0]): (row[1], row[2]) for row in rows(section("Close codes")) if row[0].isdigit()}
    assert {code: reason for code, (reason, _) in written.items()} == {code.code: code.text for code in CloseCode}
    for code in CloseCode:
        assert code.value.reconnect == reconnects(code.code)
        assert ("reconnect" in written[code.code][1]) == code.value.reconnect
        assert ("stop" in written[code.code][1]) == (not code.value.reconnect)


def test_all_error_codes_are_explained() -> None:
    written = set(re.findall(r"^\| `(\w+)` \|", section("Frames of the server").split("`err` code")[1], re.MULTILINE))
    known = [session.NOT_FOUND, session.UNAVAILABLE, session.DUPLICATE, session.TOO_MANY]
    known += [following.FORBIDDEN, following.TOO_MANY_CHILDREN]
    assert written == {one[0] for one in known}


def test_all_frames_are_listed() -> None:
    for title, adapter in (("Frames of the client", CLIENT_FRAME), ("Frames of the server", SERVER_FRAME)):
        mapping = adapter.json_schema()["discriminator"]["mapping"]
        table = section(title).split("`err` code")[0]
        listed = {word for row in rows(table) for word in re.findall(r"`(\w+)`", row[0])} - {"t"}
        assert listed == set(mapping)


def test_all_kinds_are_listed() -> None:
    text = section("Frames of the server").split("`kind` is one of")[1].split("|")[0]
    assert set(re.findall(r"`(\w+)`", text)) == {kind.value for kind in EventKind}
