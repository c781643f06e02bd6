"""Embedded Kafka: brokers that are also controllers (KRaft), on the Java of a wheel."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from milepost.embedded.errors import EmbeddedError, Unsupported
from milepost.embedded.jars import Say, ensure_jars
from milepost.embedded.jvm import Jvm, prepare_jvm
from milepost.embedded.kafka_wire import not_ready
from milepost.embedded.ports import LOOPBACK
from milepost.embedded.processes import ManagedProcess
from milepost.embedded.server import Server

MIB = 1024 * 1024
# Recording classes at the first stop takes three seconds; a broker may have much to write back besides.
GRACE = 30.0
# A broker of several never ends by itself once the others have gone: it waits for a quorum to tell.
GRACE_IN_QUORUM = 10.0
IGNORED_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")


class KafkaCluster:
    """What the brokers of one home share: their number, the cluster's id, the controllers' ports, the JVM."""

    def __init__(self, home: Path, controllers: Sequence[int], say: Say) -> None:
        self.home = home
        self.controllers = tuple(controllers)
        self._say = say
        self._jvm: Jvm | None = None
        self._lock = asyncio.Lock()
        self.identity = self._keep_identity()

    async def jvm(self) -> Jvm:
        """Return the JVM to run brokers on; the first time on a machine this fetches the jars."""
        async with self._lock:
            if self._jvm is None:
                self._jvm = await prepare_jvm(await ensure_jars(self._say))
            return self._jvm

    def _keep_identity(self) -> str:
        """Return the cluster's id, making one the first time.

        Raises EmbeddedError if the home holds a cluster of another size: its quorum would not agree.
        """
        note = self.home / "kafka-cluster.json"
        brokers = len(self.controllers)
        try:
            kept = json.loads(note.read_text(encoding="ascii"))
            identity, before = str(kept["id"]), int(kept["brokers"])
        except FileNotFoundError:
            identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            note.write_text(json.dumps({"id": identity, "brokers": brokers}) + "\n", encoding="ascii")
            return identity
        except (ValueError, KeyError, TypeError) as error:
            raise EmbeddedError(
                f"{note} cannot be read ({error}). Remove it together with {self.home}/kafka-* to begin anew."
            ) from error
        if before != brokers:
            raise EmbeddedError(
                f"{self.home} holds the data of {before} Kafka broker(s), and {brokers} were asked for. "
                f"Ask for {before}, set MILEPOST_HOME to another directory, or remove {self.home}/kafka-*."
            )
        return identity


class KafkaServer(Server):
    """One broker, node `index` of its cluster; it tells clients to come to `advertised` if that is not its port."""

    advice = (
        "if the port is taken, start again; if its data is damaged, remove kafka-* under the home; if it "
        "cannot allocate memory, free some (it needs about 400 MiB)."
    )

    def __init__(self, home: Path, port: int, index: int, cluster: KafkaCluster, advertised: int | None = None) -> None:
        super().__init__(f"kafka-{index}", home, port)
        self.index = index
        self.cluster = cluster
        self.advertised = port if advertised is None else advertised
        self.directory = home / self.name
        self._jvm: Jvm | None = None

    @property
    def address(self) -> str:
        """HOST:PORT of this broker."""
        return f"{LOOPBACK}:{self.port}"

    async def stop(self) -> None:
        """End it gracefully; keeps the archive of classes if this run recorded one."""
        await super().stop()
        if self._jvm is not None:
            self._jvm.adopt(self._record(self._jvm))

    async def _prepare(self) -> None:
        self._jvm = await self.cluster.jvm()
        if "," in str(self.directory):
            raise Unsupported(f"Kafka takes no path with a comma: {self.directory}. Move MILEPOST_HOME.")
        self.directory.mkdir(parents=True, exist_ok=True)
        lines = (f"{key}={_escaped(value)}\n" for key, value in self._settings().items())
        self._settings_file.write_text("".join(lines), encoding="ascii")
        if not (self.directory / "data" / "meta.properties").exists():
            await self._format(self._jvm)

    def _make_process(self) -> ManagedProcess:
        if self._jvm is None:
            raise EmbeddedError(f"{self.name} was never started. Call start() first.")
        # One broker records for all.
        record = self._record(self._jvm) if self.index == 0 and self._jvm.wants_recording else None
        argv = self._jvm.command("kafka.Kafka", str(self._settings_file), crash=self._crash_file, record=record)
        grace = GRACE if len(self.cluster.controllers) == 1 else GRACE_IN_QUORUM
        return ManagedProcess(self.name, argv, _environment(), self.home, grace=grace)

    async def _probe(self) -> str | None:
        return await not_ready(LOOPBACK, self.port, self.index)

    def _settings(self) -> dict[str, str]:
        settings = broker_settings(self.index, self.port, self.cluster.controllers, self.directory / "data")
        settings["advertised.listeners"] = f"PLAINTEXT://{LOOPBACK}:{self.advertised}"
        return settings

    def _first_metadata(self) -> Sequence[str]:
        """Return arguments for what a new data directory holds besides, such as accounts."""
        return ()

    @property
    def _settings_file(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _crash_file(self) -> Path:
        return self.home / "log" / f"{self.name}-crash.log"

    def _record(self, jvm: Jvm) -> Path:
        return jvm.archive.with_name(f".{jvm.archive.name}.{self.cluster.identity}-{self.index}.jsa")

    async def _format(self, jvm: Jvm) -> None:
        """Write the cluster's id and first metadata into an empty data directory."""
        # In one word: an id may begin with a dash.
        identity = f"--cluster-id={self.cluster.identity}"
        arguments = ["format", "--ignore-formatted", identity, "-c", str(self._settings_file)]
        arguments += self._first_metadata()
        tool = await asyncio.create_subprocess_exec(
            *jvm.command("kafka.tools.StorageTool", *arguments, crash=self._crash_file),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )
        try:
            said, _ = await tool.communicate()
        except BaseException:
            tool.kill()
            await tool.wait()
            raise
        if tool.returncode != 0:
            raise self._not_prepared(said, f"could not format its data directory (status {tool.returncode})")


def broker_settings(index: int, port: int, controllers: Sequence[int], data: Path) -> dict[str, str]:
    """Return the settings of one broker of a cluster with these controller ports.

    Sized for a laptop: internal topics of few partitions, small segments so that retention shows, small
    buffers. A dead broker is noticed after 3 s instead of 9, which is also how long one that was killed
    has to wait before it may register again.
    """
    replicas = len(controllers)
    in_sync = min(2, replicas)
    voters = (f"{node}@{LOOPBACK}:{controller}" for node, controller in enumerate(controllers))
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": index,
        "controller.quorum.voters": ",".join(voters),
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controllers[index]}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.segment.bytes": 4 * MIB,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 2,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 2,
        "group.initial.rebalance.delay.ms": 0,
        "broker.session.timeout.ms": 3_000,
        "broker.heartbeat.interval.ms": 500,
        "log.segment.bytes": 16 * MIB,
        "log.index.size.max.bytes": MIB,
        "log.retention.hours": 24,
        "log.retention.check.interval.ms": 30_000,
        "log.segment.delete.delay.ms": 1_000,
        "log.cleaner.dedupe.buffer.size": 8 * MIB,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 4,
    }
    return {key: str(value) for key, value in settings.items()}


def _environment() -> Mapping[str, str]:
    """Return our environment without what would change the JVM behind our back."""
    return {key: value for key, value in os.environ.items() if key not in IGNORED_VARIABLES}


def _escaped(value: str) -> str:
    """Write a value as Java's properties files want it: backslashes doubled, beyond ASCII as escapes."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    pairs = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(unit) if 0x20 <= unit < 0x7F else f"\\u{unit:04x}" for unit in pairs)
