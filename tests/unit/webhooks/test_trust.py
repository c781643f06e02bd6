"""Authorities of receivers: what cannot be used is said at a worker's start."""

import asyncio
from pathlib import Path

import pytest

from milepost.errors import SettingsError
from milepost.runtime.lifecycle import Shutdown
from milepost.runtime.settings import Settings
from milepost.tasks.registry import Registry
from milepost_worker.service import serve


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file or directory"), ("", "no certificates in it"), ("x", "no certificates in it")],
)
async def test_a_worker_does_not_start_with_authorities_that_cannot_be_used(
    tmp_path: Path, content: str | None, why: str
) -> None:
    trusted = tmp_path / "authorities.pem"
    if content is not None:
        trusted.write_text(content)
    async with asyncio.timeout(20):
        with pytest.raises(SettingsError, match=rf"MILEPOST_WEBHOOK_CAFILE: .*authorities.pem cannot be used \({why}"):
            await serve(Settings.load(webhook_cafile=trusted), Registry(), [], Shutdown())
