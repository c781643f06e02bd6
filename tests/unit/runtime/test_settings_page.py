"""docs/settings.md holds every setting, each once."""

import re
from pathlib import Path

import pytest

from milepost.runtime.settings import Settings
from milepost.runtime.settings_page import GROUPS, main, page

ROOT = Path(__file__).parents[3]


def test_every_setting_is_in_one_group_and_has_a_description() -> None:
    named = [name for group in GROUPS for name in group.settings]
    assert sorted(named) == sorted(Settings.model_fields), "put it into a group of settings_page.GROUPS"
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("service", ["api", "worker", "notifier"])
def test_a_service_is_named_with_every_setting_it_reads(service: str) -> None:
    texts = [path.read_text() for path in (ROOT / "services" / service).rglob("*.py")]
    read = {name for text in texts for name in re.findall(r"settings\.(\w+)", text)} & set(Settings.model_fields)
    said = {name for group in GROUPS if service in group.services.split(", ") for name in group.settings}
    assert read - said == set()
    assert len(read) > 5


def test_the_page_says_name_default_unit_and_file(tmp_path: Path) -> None:
    text = page()
    assert "| `MILEPOST_LEASE` | `15` | s | A claim that is not renewed for so long is taken back." in text
    assert "| `MILEPOST_API_KEY` † | none |" in text
    assert "| `MILEPOST_KAFKA_SSL_KEYFILE` | none |" in text
    assert "`PLAINTEXT`, `SSL`" in text
    path = tmp_path / "settings.md"
    assert main([str(path)]) == 0
    assert main(["--check", str(path)]) == 0
    path.write_text(text.replace("`15`", "`16`"))
    assert main(["--check", str(path)]) == 1
