"""Child processes that never outlive us: each runs under a guard, with a log file and a pid file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from milepost.embedded import guard, pidfiles
from milepost.embedded.errors import ProcessError

LOG_LIMIT = 10 * 1024 * 1024
GUARD_START = 20.0
GUARD_END = 5.0
LOST = -int(signal.SIGKILL)


@dataclass(frozen=True)
class Account:
    """The user a process runs as when it must not be root."""

    uid: int
    gid: int


class ManagedProcess:
    """One child process: `log/NAME.log`, `run/NAME.pid`, and a guard that ends it when we end.

    `argv` starts with the program's path. `env` is the whole environment (None: ours). `stop_signal` asks
    it to end, after `grace` seconds it is killed. `user` is the account to run as (None: ours). With
    `tree`, `kill`, `pause` and `resume` take its children along, as servers of several processes need.
    Ctrl-C in the terminal does not reach it. It can be started again after it ended, from the loop that
    started it first.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        home: Path,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: Account | None = None,
        grace: float = 10.0,
        tree: bool = False,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.env = None if env is None else dict(env)
        self.home = home
        self.stop_signal = stop_signal
        self.user = user
        self.grace = grace
        self.tree = tree
        self.cwd = cwd
        self.returncode: int | None = None
        self._pid: int | None = None
        self._log_start = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._watcher: asyncio.Task[int] | None = None
        self._paused: list[int] = []
        self._killed = False

    @property
    def log_path(self) -> Path:
        """Where its standard output and error go."""
        return self.home / "log" / f"{self.name}.log"

    @property
    def pid_path(self) -> Path:
        """The file that names its pid while it runs."""
        return self.home / "run" / f"{self.name}.pid"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._watcher is not None and not self._watcher.done()

    @property
    def pid(self) -> int:
        """Its own pid, not its guard's.

        Raises ProcessError when it does not run.
        """
        if not self.running or self._pid is None:
            raise ProcessError(f"{self.name} is not running. Start it first; its log is {self.log_path}.")
        return self._pid

    async def start(self) -> None:
        """Start it; returns once it has a pid, which says nothing about being ready.

        One that was just killed is waited for. Raises ProcessError if it runs already, here or elsewhere, or
        cannot be executed.
        """
        if self._killed and self.running:
            await self.wait()
        if self.running:
            raise ProcessError(f"{self.name} runs already, as pid {self.pid}. Stop it first.")
        for directory in (self.log_path.parent, self.pid_path.parent):
            directory.mkdir(parents=True, exist_ok=True)
        other = pidfiles.live_pid(self.pid_path)
        if other is not None:
            raise ProcessError(
                f"{self.name} of {self.home} runs already, as pid {other}, started by another process. "
                f"Stop that process, or end it with: kill {other}"
            )
        self.pid_path.unlink(missing_ok=True)
        self.returncode = None
        self._paused = []
        self._killed = False
        try:
            await self._launch()
        except BaseException:
            await self._close()
            raise
        self._watcher = asyncio.get_running_loop().create_task(self._watch(), name=f"watch {self.name}")

    async def stop(self) -> None:
        """End it: the stop signal, and SIGKILL to its process group after the grace time.

        Does nothing when it does not run. Cancelling this does not stop the stopping.
        """
        if self._watcher is None:
            return
        if self.running:
            self.resume()
            if self._writer is not None and not self._writer.is_closing():
                self._writer.write_eof()
        await self.wait()

    async def wait(self) -> int:
        """Wait for it to end, by whatever cause; returns the exit status, negative for a signal."""
        if self._watcher is None:
            raise ProcessError(f"{self.name} was never started, so there is no end to wait for.")
        return await asyncio.shield(self._watcher)

    def kill(self) -> None:
        """Send SIGKILL: it gets no chance to tidy up. `wait` tells when it is gone."""
        for pid in self._family():
            _signal(pid, signal.SIGKILL)
        self._killed = True

    def pause(self) -> None:
        """Send SIGSTOP: its connections stay open and nothing answers."""
        self._paused = self._family()
        for pid in self._paused:
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT; does nothing if it was not paused."""
        for pid in self._paused:
            _signal(pid, signal.SIGCONT)
        self._paused = []

    def log_tail(self, lines: int = 20) -> list[str]:
        """Return the last lines it wrote since it was last started, up to about 1 KiB for each (64 KiB at least)."""
        try:
            with self.log_path.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, end - max(64, lines) * 1024))
                return log.read().decode(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def _family(self) -> list[int]:
        """Return its pid and, with `tree`, those of its children, it first."""
        pid = self.pid
        children: list[psutil.Process] = []
        if self.tree:
            with contextlib.suppress(psutil.Error):
                children = psutil.Process(pid).children(recursive=True)
        return [pid, *(child.pid for child in children)]

    async def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._guard = self._spawn_guard(theirs)
            self._reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        try:
            async with asyncio.timeout(GUARD_START):
                word, value = await self._next_report()
        except TimeoutError:
            word, value = "error", f"its guard said nothing for {GUARD_START:.0f} s"
        if word != "pid":
            raise ProcessError(
                f"{self.name} could not be started: {value or 'its guard died'}. The command was "
                f"{self.argv[0]}; check that it exists and may be executed. Its log is {self.log_path}."
            )
        self._pid = int(value)

    def _spawn_guard(self, channel: socket.socket) -> subprocess.Popen[bytes]:
        _rotate(self.log_path)
        command = [
            *(sys.executable, "-I", "-S", guard.__file__),
            *("--pid-file", str(self.pid_path)),
            *("--stop-signal", str(int(self.stop_signal))),
            *("--grace", str(self.grace)),
        ]
        if self.user is not None:
            command += ["--user", str(self.user.uid), "--group", str(self.user.gid)]
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(
                [*command, "--", *self.argv],
                stdin=channel.fileno(),
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )

    async def _next_report(self) -> tuple[str, str]:
        """Return the guard's next line, cut at the first space; two empty strings if it is gone."""
        if self._reader is None:
            return "", ""
        try:
            line = (await self._reader.readline()).decode().strip()
        except OSError:
            return "", ""
        word, _, value = line.partition(" ")
        return word, value

    async def _watch(self) -> int:
        try:
            word, value = await self._next_report()
            if word != "exit" and self._pid is not None:
                # The guard itself was killed. Nobody else would end the process now.
                _signal_if_ours(self._pid, self.pid_path)
            code = int(value) if word == "exit" else LOST
        finally:
            await self._close()
        self.returncode = code
        return code

    async def _close(self) -> None:
        """Let go of the guard, which ends it if it still runs, and collect its exit status."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        child, self._guard = self._guard, None
        if child is not None:
            await asyncio.to_thread(_reap, child, self.grace + GUARD_END)


def _reap(child: subprocess.Popen[bytes], patience: float) -> None:
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _signal_if_ours(pid: int, pid_path: Path) -> None:
    if pidfiles.live_pid(pid_path) == pid:
        _signal(pid, signal.SIGKILL)
    pid_path.unlink(missing_ok=True)


def _rotate(path: Path) -> None:
    """Keep one older log beside the current one once it has grown large."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
