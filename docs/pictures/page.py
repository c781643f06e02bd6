"""Take pictures of the page that `milepost dev` serves: `make pictures`. Needs Chromium.

    python docs/pictures/page.py LIGHT.png DARK.png

A stack of its own is started for it; the page starts tasks, and the pictures are taken while they run.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from milepost.cli.dev.command import free_base
from tests.chromium import Page, chromium

WIDTH, HEIGHT, SCALE = 760, 590, 1.5
PATIENCE_S = 180.0


@asynccontextmanager
async def stack(home: str) -> AsyncIterator[str]:
    """Run `milepost dev` and give the address of its page."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "milepost.cli", "dev", "--port-base", str(free_base())),
        env={**os.environ, "MILEPOST_HOME": home},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None  # noqa: S101 - a pipe
    try:
        said = b""
        async with asyncio.timeout(PATIENCE_S):
            while b"Serving" not in said:
                line = await process.stdout.readline()
                if not line:
                    sys.exit(f"The stack did not start:\n{said.decode()}")
                said += line
        yield re.findall(rb"in a page +(\S+)", said)[0].decode()
    finally:
        process.send_signal(signal.SIGINT)
        await process.communicate()


async def scheme(page: Page, name: str) -> None:
    """Have the page in light or dark colours."""
    await page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])


async def fill(page: Page, url: str) -> None:
    """Start tasks in the page, and wait until they are in the middle."""
    await page.send(
        "Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=SCALE, mobile=False
    )
    await page.open(url)
    await page.shows("document.getElementById('status').textContent === 'live'")
    await page.run("document.querySelector('[data-start=write]').click()")
    await page.shows("/another/.test(document.querySelector('.output')?.textContent)")
    await page.run("document.querySelector('[data-start=tree]').click()")
    await page.shows("document.querySelectorAll('.tree li[data-state=succeeded]').length > 1")


async def main(light: str, dark: str) -> None:
    """Take both."""
    home = tempfile.mkdtemp(prefix="milepost-pictures-")
    try:
        async with stack(home) as url, chromium() as browser, browser.page() as page:
            await fill(page, url)
            for name, path in (("light", light), ("dark", dark)):
                await scheme(page, name)
                picture = await page.picture()
                Path(path).write_bytes(picture)  # noqa: ASYNC240 - nobody waits
                print(f"{path}: {len(picture) // 1024} KiB")  # noqa: T201
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
