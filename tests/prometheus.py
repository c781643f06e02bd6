"""A real Prometheus that scrapes a system, with the rules of deploy/prometheus, in a time that runs faster."""

import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

from milepost.embedded.ports import allocate
from milepost.embedded.processes import ManagedProcess
from tests.conftest import eventually
from tests.pager import Pager
from tests.system import ROOT, System

RULES: Final = ROOT / "deploy/prometheus/rules"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=for: )(\d+)([smhd])\b")
_AGE: Final = re.compile(r"((?:_age_seconds|overdue_seconds)\)? > )(\d+)")


class Prometheus:
    """What it knows."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the series of an instant query. Fails the test if it is no query."""
        async with self._session.get(f"{self.url}/api/v1/query", params={"query": query}) as response:
            body = await response.json()
        assert body["status"] == "success", f"{query}\n{body}"
        return list(body["data"]["result"])

    async def all_up(self, count: int) -> bool:
        """Whether so many targets can be read."""
        return len(await self.ask("up == 1")) >= count


def hastened(text: str, times: int) -> str:
    """Return rules in which all durations, and the ages they compare with, are so many times shorter."""

    def shorter(found: re.Match[str]) -> str:
        number, unit = found[1] or found[3], found[2] or found[4]
        return f"{max(1000, int(number) * _UNITS[unit] * 1000 // times)}ms"

    return _AGE.sub(lambda found: f"{found[1]}{int(found[2]) / times:g}", _DURATION.sub(shorter, text))


@asynccontextmanager
async def prometheus_of(
    system: System, home: Path, *, times: int = 1, pager: Pager | None = None
) -> AsyncIterator[Prometheus]:
    """Run one that reads all processes of a system once a second, and tells a pager, if there is one, what fires.

    The test is skipped where there is no Prometheus.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: apt install prometheus)")
    (home / "rules").mkdir(parents=True)
    for file in RULES.glob("*.yml"):
        (home / "rules" / file.name).write_text(hastened(file.read_text(encoding="utf-8"), times), encoding="utf-8")
    config = home / "prometheus.yml"
    config.write_text(yaml.safe_dump(_config(system.metrics, pager)), encoding="utf-8")
    [port] = allocate(["prometheus"], {}, home / "ports.json").values()
    argv = [program, f"--config.file={config}", f"--storage.tsdb.path={home / 'data'}", "--query.lookback-delta=3s"]
    argv.append("--rules.alert.resend-delay=1s")
    process = ManagedProcess("prometheus", [*argv, f"--web.listen-address=127.0.0.1:{port}"], None, home)
    for folder in ("log", "run"):
        (home / folder).mkdir(exist_ok=True)
    await process.start()
    try:
        async with aiohttp.ClientSession() as session:
            prometheus = Prometheus(f"http://127.0.0.1:{port}", session)

            async def reads() -> bool:
                try:
                    return await prometheus.all_up(len(system.metrics))
                except aiohttp.ClientError:
                    return False

            await eventually(reads, "Prometheus to read all processes:\n" + "\n".join(process.log_tail()), 60)
            yield prometheus
    finally:
        await process.stop()


def _config(metrics: Mapping[str, int], pager: Pager | None) -> dict[str, Any]:
    jobs: dict[str, list[str]] = {}
    for name, port in metrics.items():
        jobs.setdefault(name.partition("-")[0], []).append(f"127.0.0.1:{port}")
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"},
        "rule_files": ["rules/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [pager.address]}]}] if pager else []},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": targets}]} for job, targets in jobs.items()
        ],
    }
