"""Fetching jars from Maven repositories, with progress; needs neither Java nor mvn.

Uses the two lower layers of jgo, resolution and download. Its environment builder is left out on purpose:
it would fetch a whole JDK 11 only to sort the jars into modules.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext, PythonResolver
from jgo.parse import Coordinate

from milepost.embedded.errors import DownloadFailed

REPOSITORY_VARIABLE = "MILEPOST_MAVEN_REPOSITORY"
AT_ONCE = 6
TIMEOUT = 30

Step = Callable[[str, int, int], None]


def fetch(coordinates: Sequence[str], into: Path, say: Callable[[str], None], cancelled: threading.Event) -> list[Path]:
    """Fetch the artifacts and all they depend on at run time; returns the jars, those asked for first.

    Ends with DownloadFailed soon after `cancelled` is set, and raises what jgo and requests raise.
    """

    @contextlib.contextmanager
    def notice_cancelling(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        def received(_count: int) -> None:
            if cancelled.is_set():
                raise DownloadFailed(coordinates, "it was interrupted", into)

        yield received

    if "SSL_CERT_FILE" in os.environ:
        # What OpenSSL trusts here, which requests would not look at.
        os.environ.setdefault("REQUESTS_CA_BUNDLE", os.environ["SSL_CERT_FILE"])
    # Whatever the repositories, jars land in our directory: a download cut short must not be left in ~/.m2,
    # where every tool would take it for whole.
    context = MavenContext(
        resolver=PythonResolver(progress_callback=notice_cancelling),
        repo_cache=into,
        remote_repos=repositories(),
        timeout=TIMEOUT,
    )
    say(f"fetching {' and '.join(coordinates)} from {', '.join(context.remote_repos.values())} (45 MB, once)")
    with _meter(say) as step:
        step("resolving dependencies", 0, 0)
        artifacts = _resolve(context, coordinates)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="jars") as pool:
            tasks = {pool.submit(artifact.resolve): artifact.filename for artifact in artifacts}
            try:
                for done, task in enumerate(as_completed(tasks), start=1):
                    task.result()
                    notice = tasks[task]
                    step(notice, done, len(artifacts))
            except BaseException:
                cancelled.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    return [Path(artifact.resolve()) for artifact in artifacts]


def repositories() -> dict[str, str]:
    """Return the Maven repositories to ask, name to address, by environment, jgo's settings or default."""
    named = os.environ.get(REPOSITORY_VARIABLE)
    if named:
        return {"central": named.rstrip("/")}
    return {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}


def _resolve(context: Any, coordinates: Sequence[str]) -> list[Any]:
    wanted = [context.create_dependency(Coordinate.parse(each)) for each in coordinates]
    for dependency in wanted:
        dependency.scope = "compile"
    inputs, transitive = context.resolver.resolve(wanted)
    return [each.artifact for each in (*inputs, *transitive) if each.scope in {"compile", "runtime"}]


@contextlib.contextmanager
def _meter(say: Callable[[str], None]) -> Iterator[Step]:
    """Give a function that shows (what, jars done, jars in all): a bar on a terminal, else plain lines."""
    if sys.stderr.isatty():
        with contextlib.suppress(ImportError):
            from rich.console import Console
            from rich.progress import Progress

            with Progress(console=Console(stderr=True), transient=True) as progress:
                bar = progress.add_task("Kafka", total=None)
                yield lambda what, done, total: progress.update(
                    bar, description=f"Kafka: {what}", completed=done, total=total or None
                )
            return

    def line(what: str, done: int, total: int) -> None:
        if total == 0:
            say(what)
        elif done == total or done % max(1, total // 3) == 0:
            say(f"{done} of {total} jars")

    yield line
