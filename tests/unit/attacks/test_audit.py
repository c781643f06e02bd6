"""The audit of dependencies tells what is vulnerable from what nobody knows."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# As pip-audit 2.10 writes it.
SAID: list[dict[str, Any]] = [
    {"name": "fine", "version": "1.0", "vulns": []},
    {
        "name": "jinja2",
        "version": "2.10",
        "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"], "aliases": ["CVE-2019-10906"]}],
    },
    {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited: ours (0.1)"},
]


def test_a_vulnerability_is_told_from_a_package_nobody_knows(audit: ModuleType) -> None:
    bad, unknown = audit.judge(SAID)
    assert bad == ["jinja2 2.10: PYSEC-2019-217, fixed in 2.10.1"]
    assert unknown == ["ours: Dependency not found on PyPI and could not be audited: ours (0.1)"]


def test_one_that_was_accepted_for_a_reason_is_none(audit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(audit.ACCEPTED, "CVE-2019-10906", "no sandbox is used")
    assert audit.judge(SAID)[0] == []


def test_every_package_of_the_lock_is_asked_for(audit: ModuleType) -> None:
    packages = audit.pinned()
    assert len(packages) > 50
    assert [each for each in packages if each.startswith(f"{audit.CANARY}==")]
