"""`milepost` and `python -m milepost.cli`."""

import logging
import sys
from collections.abc import Sequence

import click

from milepost.cli.exits import Exit, exit_of
from milepost.cli.lazy import LazyGroup
from milepost.errors import MilepostError

_COMMANDS = "milepost.cli.commands"
TABLE = {
    "dev": ("milepost.cli.dev.command:dev", "Start everything on this machine, reload task code as it changes."),
    "demo": ("milepost.cli.dev.command:demo", "Start everything and watch a repository being analysed."),
    "submit": (f"{_COMMANDS}.submit:submit", "Submit a task; wait for it or watch it."),
    "watch": (f"{_COMMANDS}.watch:watch", "Watch tasks live."),
    "get": (f"{_COMMANDS}.get:get", "Show a task."),
    "list": (f"{_COMMANDS}.list:list_", "List tasks, newest first."),
    "result": (f"{_COMMANDS}.result:result", "Write a task's result, whatever its size."),
    "attempts": (f"{_COMMANDS}.attempts:attempts", "List the runs a task had."),
    "cancel": (f"{_COMMANDS}.cancel:cancel", "Ask a task to stop."),
    "retry": (f"{_COMMANDS}.retry:retry", "Run a failed or cancelled task again."),
    "dead-letters": (f"{_COMMANDS}.dead_letters:dead_letters", "What failed for good: list, show, replay."),
    "keys": (f"{_COMMANDS}.keys:keys", "API keys: create, list, revoke."),
    "tenants": (f"{_COMMANDS}.tenants:tenants", "Tenants and their quotas: list, set."),
    "quotas": (f"{_COMMANDS}.quotas:quotas", "What your tenant may take, and what of it is taken."),
    "webhooks": (f"{_COMMANDS}.webhooks:webhooks", "Whom to tell over HTTP that tasks end."),
    "types": (f"{_COMMANDS}.catalogue:types", "List task types."),
    "workers": (f"{_COMMANDS}.catalogue:workers", "List live workers."),
    "watch-token": (f"{_COMMANDS}.watch_token:watch_token", "Make a token for a page to watch with."),
    "queues": (f"{_COMMANDS}.queues:queues", "Queues and what holds them back: list, pause, resume, set, limits."),
    "explain": (f"{_COMMANDS}.queues:explain", "Say why a task does not run."),
    "doctor": (f"{_COMMANDS}.doctor:doctor", "Check every dependency and say what to do."),
    "log-level": (f"{_COMMANDS}.log_level:log_level", "Have services log more or less for a while."),
    "bench": ("milepost.cli.bench.command:bench", "Put the main job under load and print what was measured."),
    "migrate": (f"{_COMMANDS}.migrate:migrate", "Bring the database and the topics up to date."),
    "api": (f"{_COMMANDS}.services:api", "Run the HTTP API."),
    "worker": (f"{_COMMANDS}.services:worker", "Run workers."),
    "notifier": (f"{_COMMANDS}.services:notifier", "Run the relay to browsers."),
    "completion": (f"{_COMMANDS}.completion:completion", "Make bash, zsh or fish complete all this."),
}


@click.group(cls=LazyGroup, table=TABLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="milepost", message="%(prog)s %(version)s")
def milepost() -> None:
    """Long tasks for an HTTP API, with progress people can watch live.

    Start with `milepost demo`. Settings are MILEPOST_* variables, also from .env; a stack started by `milepost dev`
    in this folder is found by itself.

    Exit status: 0 done, 1 the task failed, 2 usage or refused, 3 cannot reach.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    # aiokafka writes each refused connection to standard error; commands say it once, services in their logs.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    _say_what_is_waited_for()
    try:
        outcome = milepost.main(args=argv, prog_name="milepost", standalone_mode=False)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # `milepost list | head`: what was wanted has been read.
        sys.stderr.close()
        return Exit.DONE
    except MilepostError as error:
        click.echo(f"milepost: {error}", err=True)
        return exit_of(error)
    return outcome if isinstance(outcome, int) else Exit.DONE


class _Said(logging.Handler):
    """Writes what is logged for the person at the terminal, above bars where there are any."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"milepost: {record.getMessage()}", err=True)


def _say_what_is_waited_for() -> None:
    waiting = logging.getLogger("milepost.client.http")
    if not waiting.handlers:
        waiting.addHandler(_Said(logging.INFO))
        waiting.setLevel(logging.INFO)
        waiting.propagate = False


if __name__ == "__main__":
    sys.exit(main())
