"""Two Postgres servers, one of which follows the other until it is promoted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from milepost.embedded.passwords import keep_secret
from milepost.embedded.ports import allocate
from milepost.embedded.postgres import DATABASE, ROLE, SUPERUSER, PostgresServer
from milepost.embedded.postgres_account import Place, own
from tests.conftest import eventually


class Standby(PostgresServer):
    """A server that begins as a copy of another, and follows it by streaming replication."""

    def __init__(self, home: Path, port: int, primary: PostgresServer) -> None:
        super().__init__(home, port)
        self._primary = primary

    async def _initialise(self, place: Place) -> None:
        command = [
            *(str(place.programs / "pg_basebackup"), "--pgdata", str(place.data), "--write-recovery-conf"),
            *("--checkpoint", "fast", "--no-sync", "--wal-method", "stream"),
            *("--dbname", self._primary.admin_url.replace(f"/{DATABASE}", "/")),
        ]
        own(place.data, place.account)
        await self._run_initdb(command, place)


class Pair:
    """A primary and its standby."""

    def __init__(self, primary: PostgresServer, standby: Standby) -> None:
        self.primary = primary
        self.standby = standby

    @property
    def servers(self) -> tuple[PostgresServer, PostgresServer]:
        """Both."""
        return self.primary, self.standby

    def url(self, *ports: int) -> SecretStr:
        """Return the database's address with these ports as hosts, in order."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return SecretStr(f"postgresql://{ROLE}:{self.primary.password}@{hosts}/{DATABASE}")

    async def caught_up(self) -> None:
        """Wait until the standby has all of the primary."""
        where = await self.ask(self.primary, "select pg_current_wal_lsn()::text")

        async def check() -> bool:
            got = "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
            return bool(await self.ask(self.standby, got, where))

        await eventually(check, "the standby to catch up")

    async def promote(self) -> None:
        """Make the standby a primary."""
        assert await self.ask(self.standby, "select pg_promote()")

    async def demote(self) -> None:
        """Let the primary take no more writes, as a fail-over does to the old one; sessions stay."""
        await self.ask(self.primary, "alter system set default_transaction_read_only = on")
        await self.ask(self.primary, "select pg_reload_conf()")

    async def ask(self, server: PostgresServer, statement: str, *arguments: object) -> object:
        """Ask as superuser."""
        connection = await asyncpg.connect(server.admin_url, timeout=5)
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            await connection.close(timeout=2)


@asynccontextmanager
async def pair_in(home: Path) -> AsyncIterator[Pair]:
    """Run a primary and a standby below `home`."""
    for folder in ("one", "two"):
        for part in ("log", "run"):
            (home / folder / part).mkdir(parents=True, exist_ok=True)
    ports = allocate(["one", "two"], {}, home / "ports.json")
    primary = PostgresServer(home / "one", ports["one"])
    standby = Standby(home / "two", ports["two"], primary)
    try:
        await primary.start()
        password = home / "two" / "postgres.password"
        keep_secret(password)
        password.write_text(primary.password, encoding="ascii")
        await standby.start()
        assert primary.admin_url.startswith(f"postgresql://{SUPERUSER}:")
        yield Pair(primary, standby)
    finally:
        for server in (standby, primary):
            await server.stop()
