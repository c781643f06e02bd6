"""Where Kafka's jars come from."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from milepost.embedded import DownloadFailed, EmbeddedError, Stack
from milepost.embedded.jars import ensure_jars


async def test_a_failed_download_says_what_why_and_how_to_go_on_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILEPOST_KAFKA_JARS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MILEPOST_MAVEN_REPOSITORY", "http://127.0.0.1:9/maven2")
    with pytest.raises(DownloadFailed, match=r"kafka_2\.13:4\.3\.1(.|\n)*refused(.|\n)*MILEPOST_KAFKA_JARS"):
        await ensure_jars(lambda _line: None)
    assert list((tmp_path / "milepost").iterdir()) == []


async def test_a_directory_of_jars_without_kafka_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_KAFKA_JARS", str(tmp_path))
    with pytest.raises(EmbeddedError, match="holds no kafka"):
        await ensure_jars(lambda _line: None)


@pytest.mark.stack
async def test_a_warm_start_imports_no_downloader(stack: Stack) -> None:
    del stack  # by now the jars are in the cache
    code = (
        "import asyncio, sys; from milepost.embedded.jars import ensure_jars;"
        "jars = asyncio.run(ensure_jars(print)); print(len(jars) > 40, 'jgo' in sys.modules)"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    said, _ = await child.communicate()
    assert said.decode().split() == ["True", "False"]
