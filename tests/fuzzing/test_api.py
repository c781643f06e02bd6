"""Whatever the API is asked, in any order: no fault of ours, and no answer that OpenAPI does not describe."""

import asyncio
import json
import os
import shutil
import subprocess
import sysconfig
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr

from milepost.log import ensure_topics
from milepost.store import Store, migrate, open_pool
from tests.conftest import MakeSettings
from tests.integration.api.serving import COUNT, FREE, KEY, Api, served

pytestmark = pytest.mark.stack
ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 20
EXAMPLES: Final = os.environ.get("FUZZ_EXAMPLES")
"""For each operation; unset: as many as there are in `SECONDS`."""
SEED: Final = os.environ.get("FUZZ_SEED", "1")
LEAST: Final = int(os.environ.get("FUZZ_REQUESTS", "50"))
"""Fewer requests than these prove nothing."""
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
)


@pytest.fixture
async def api(fresh: MakeSettings) -> AsyncIterator[Api]:
    settings = await fresh(api_key=SecretStr(KEY))
    await migrate(settings)
    await ensure_topics(settings, [COUNT.queue, FREE.queue])
    pool = await open_pool(settings, "test")
    await Store(pool).announce([COUNT, FREE])
    await pool.close()
    async with served(settings) as running:
        yield running


@pytest.mark.timeout(3600 if EXAMPLES else 300)
async def test_whatever_is_asked_every_answer_is_one_that_is_described(api: Api, tmp_path: Path) -> None:
    report = tmp_path / "report.ndjson"
    tool = shutil.which("schemathesis", path=sysconfig.get_path("scripts"))
    assert tool is not None
    # One worker: in threads the parser of CPython 3.11 now and then raises SystemError (gh-106905).
    how_much = ("--max-examples", EXAMPLES) if EXAMPLES else ("--max-time", str(SECONDS))
    process = await asyncio.create_subprocess_exec(
        tool, "run", f"{api.url}/v1/openapi.json",
        "--header", f"Authorization: Bearer {KEY}",
        "--checks", ",".join(CHECKS),
        "--phases", "examples,coverage,fuzzing,stateful",
        *how_much, "--request-timeout", "70", "--seed", SEED, "--workers", "1",
        "--no-shrink", "--continue-on-failure", "--warnings", "off", "--report-ndjson-path", str(report),
        cwd=tmp_path, env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzzing.known_types", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = said.decode(errors="replace")
    statuses = _statuses(report)
    print(f"{statuses.total()} requests: {dict(sorted(statuses.items()))}")  # noqa: T201 - a figure of `make fuzz-api`
    assert process.returncode == 0, text[-20_000:]
    assert statuses.total() >= LEAST, text[-3_000:]
    assert not [status for status in statuses if status >= 500]


def _statuses(report: Path) -> Counter[int]:
    """Count the answers in a report by their statuses."""
    found: Counter[int] = Counter()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            status = value.get("status_code")
            if isinstance(status, int) and "headers" in value:
                found[status] += 1
            else:
                for each in value.values():
                    look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    for line in report.read_text(encoding="utf-8").splitlines():
        look(json.loads(line))
    return found
