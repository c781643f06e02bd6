"""`milepost dev` and `milepost demo`: options, Ctrl-C, exit statuses."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from milepost.cli.exits import Exit
from milepost.errors import MilepostError, SettingsError
from milepost.runtime.lifecycle import Shutdown
from milepost.runtime.settings import Settings

_PLACEHOLDERS = {
    "MILEPOST_DATABASE_URL": "postgresql://milepost@127.0.0.1:5432/milepost",
    "MILEPOST_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "MILEPOST_REDIS_URL": "redis://127.0.0.1:6379/0",
}
"""What modules with tasks find while they are tried: the servers are not up yet, and modules should not connect."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.option(
                "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes."
            ),
            click.option("--notifiers", type=click.IntRange(1, 16), default=1, show_default=True, help="Notifiers."),
            click.option(
                "--port-base",
                type=click.IntRange(1024, 65533),
                metavar="N",
                help="api on N, WebSocket on N+1, the notifier's HTTP on N+2. Default: 8000, 8001, 8002.",
            ),
            click.option("--tasks", metavar="M,…", help="More modules with tasks (also MILEPOST_TASKS)."),
        )
    ):
        command = option(command)
    return command


def free_base() -> int:
    """Return a number such that it and the next two are free ports."""
    from milepost.embedded.ports import SERVER_PORTS, is_free

    return next(base for base in SERVER_PORTS[::10] if all(is_free(base + more) for more in range(3)))


@click.command()
@_options
def dev(**options: Any) -> int:
    """Start Kafka, Postgres, Redis, the api, notifiers and workers on this machine, and keep them running.

    Data, logs and the key are in .milepost/ (MILEPOST_HOME). Workers start anew when the code of their tasks
    changes. Ctrl-C stops everything; a second one hurries.
    """
    from milepost.cli.dev.serving import serve_dev

    return run_stand(options, serve_dev)


@click.command()
@_options
@click.option("--repository", metavar="PATH|URL", help="What to analyse. Default: the checkout you stand in.")
@click.option("--ref", default="HEAD", show_default=True, help="Branch, tag or commit.")
def demo(repository: str | None, ref: str, **options: Any) -> int:
    """Start everything, analyse the tests of a git repository as a task, and watch it live.

    On a terminal it goes on serving afterwards until Ctrl-C; elsewhere it stops everything after the report.
    """
    from milepost.cli.dev.demo import Demo, repository_here

    subject = repository or repository_here(Path.cwd())
    return run_stand(options, Demo(subject, ref))


def run_stand(options: dict[str, Any], body: Callable[..., Awaitable[Exit]]) -> int:
    """Run a stand with `body` in it until that ends or somebody presses Ctrl-C; return the exit status."""
    try:
        import milepost.embedded  # noqa: F401 - to say early what is missing
    except ImportError as error:
        raise SettingsError(f"{error.name} is not installed. Install it with: pip install 'milepost[dev]'") from error
    from milepost.cli.dev.narrator import Narrator
    from milepost.embedded import EmbeddedError

    narrator = Narrator()
    try:
        return asyncio.run(_until_stopped(options, body, narrator))
    except (EmbeddedError, MilepostError) as error:
        click.echo(f"milepost: {error}", err=True)
        return Exit.USAGE if isinstance(error, SettingsError) else Exit.FAILED


async def _until_stopped(options: dict[str, Any], body: Callable[..., Awaitable[Exit]], narrator: Any) -> Exit:
    from milepost.cli.dev.plan import make_plan
    from milepost.cli.dev.stand import Stand, await_predecessor, refuse_second
    from milepost.cli.dev.trial import try_tasks

    settings = Settings.load()
    home = settings.home.expanduser().absolute()
    refuse_second(home)
    await await_predecessor(home, narrator.say)
    plan = make_plan(settings, **options)
    stand = Stand(plan, narrator)
    shutdown = Shutdown()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, shutdown.ask)

    async def work() -> Exit:
        await try_tasks(plan.tasks, plan.service_environment(_PLACEHOLDERS, os.environ))
        async with stand:
            return await body(stand, narrator)

    running = asyncio.create_task(work())
    asked = asyncio.create_task(shutdown.requested.wait())
    hurry = asyncio.create_task(shutdown.hurry.wait())
    try:
        await asyncio.wait((running, asked), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        narrator.say("stopping everything; Ctrl-C again kills it at once")
        running.cancel()
        await asyncio.wait((running, hurry), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            stand.kill()
        try:
            return await running
        except asyncio.CancelledError:
            return Exit.DONE if stand.served else Exit.INTERRUPTED
    finally:
        asked.cancel()
        hurry.cancel()
