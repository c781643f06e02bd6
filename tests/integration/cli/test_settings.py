"""What the processes themselves say of settings that cannot be."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "argv",
    [
        ("milepost_api",),
        ("milepost_worker", "--tasks", "milepost.demo"),
        ("milepost_notifier", "--processes", "2"),
        ("milepost.cli", "doctor"),
    ],
)
async def test_nobody_starts_on_settings_that_contradict_each_other(argv: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"hunter2\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")} | {
        "MILEPOST_LEASE": "6",
        "MILEPOST_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "secret"),
        "MILEPOST_API_KEY_FILE": str(tmp_path / "nothing"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *argv, env=env, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode in {1, 2}, said
    shown = "These settings are not valid; nothing was started.\n"
    assert said.count(shown) == 1
    found = "\n".join(sorted(line.strip() for line in said.partition(shown)[2].splitlines()))
    assert found == (
        f"MILEPOST_API_KEY_FILE: {tmp_path / 'nothing'} cannot be read: No such file or directory\n"
        "MILEPOST_KAFKA_SECURITY_PROTOCOL is PLAINTEXT, and MILEPOST_KAFKA_SASL_PASSWORD is given;"
        " use SASL_SSL, or leave it out\n"
        "MILEPOST_LEASE (6 s) must be at least twice MILEPOST_RENEW (5 s),"
        " or one late renewal loses every running task"
    )
    assert "hunter2" not in said
