"""A Compose project of its own, and its containers as Docker and the kernel see them. Standard library only."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
LOOK_AGAIN_S = 0.2


class Failed(Exception):
    """What was tried did not come out as it should; the message is for a person."""


def docker(*arguments: str, check: bool = True) -> str:
    """Run docker; return what it prints. Raises Failed with its words unless `check` is off."""
    done = subprocess.run(("docker", *arguments), capture_output=True, text=True, check=False, cwd=ROOT)
    if check and done.returncode != 0:
        raise Failed(f"docker {' '.join(arguments[:4])} …: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def wait_for(what: str, check: Callable[[], object], within_s: float) -> float:
    """Wait until `check` holds; return the seconds that took. Raises Failed."""
    began = time.monotonic()
    while not check():
        if time.monotonic() - began > within_s:
            raise Failed(f"waited {within_s:g} s for {what}")
        time.sleep(LOOK_AGAIN_S)
    return time.monotonic() - began


@dataclass(frozen=True)
class Container:
    """One container at one moment."""

    id: str
    name: str
    service: str
    pid: int
    started_at: str
    running: bool
    health: str
    """What its health check says; `none` where it has none."""

    @property
    def well(self) -> bool:
        """Whether it runs and its health check, if it has one, agrees."""
        return self.running and self.health in {"healthy", "none"}

    def kill(self) -> None:
        """End its first process from outside; `docker kill` counts as a stop, after which nothing restarts it."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except PermissionError:
            raise Failed(
                "a process of a container can be killed from outside by root alone: run this as root"
            ) from None

    def status(self, field: str) -> str:
        """Return a line of /proc/PID/status of its first process."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value.strip()
        raise Failed(f"{self.name}: /proc says nothing of {field}")

    def root_is_read_only(self) -> bool:
        """Return whether its root file system is mounted read-only."""
        for line in Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[4] == "/":
                return "ro" in fields[5].split(",")
        raise Failed(f"{self.name}: /proc says nothing of its root")

    def connections(self, port: int) -> int:
        """Return how many TCP connections to a port of it are established."""
        count = 0
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state = line.split()[:4]
                count += state == "01" and int(local.rpartition(":")[2], 16) == port
        return count


def _container(seen: dict[str, Any]) -> Container:
    labels, state = seen["Config"]["Labels"], seen["State"]
    return Container(
        id=seen["Id"],
        name=f"{labels['com.docker.compose.service']}-{labels['com.docker.compose.container-number']}",
        service=labels["com.docker.compose.service"],
        pid=state["Pid"],
        started_at=state["StartedAt"],
        running=state["Running"] and not state["Restarting"],
        health=state.get("Health", {}).get("Status", "none"),
    )


class Project:
    """A project named apart from the installation's own, with settings of its own."""

    def __init__(self, name: str, env_file: Path, *more_files: str) -> None:
        files = [f"--file={ROOT / file}" for file in ("docker-compose.yml", *more_files)]
        self.name = name
        self._head = ["compose", f"--project-name={name}", f"--project-directory={ROOT}", f"--env-file={env_file}"]
        self._head += [*files, "--progress=quiet"]

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run docker compose; return what it prints. Raises Failed."""
        return docker(*self._head, *arguments, check=check)

    def down(self) -> None:
        """Remove everything of the project, its data too."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout=30")

    def begin(self, *arguments: str, stderr: IO[str]) -> subprocess.Popen[str]:
        """Start docker compose with pipes for what it reads and prints."""
        return subprocess.Popen(
            ("docker", *self._head, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
        )

    def containers(self, *services: str) -> list[Container]:
        """Return those that are meant to stay, of these services or of all, in the order of their names."""
        ids = docker("ps", "-aq", "--no-trunc", f"--filter=label=com.docker.compose.project={self.name}").split()
        found = [each for each in json.loads(docker("inspect", *ids)) if _stays(each)] if ids else []
        every = sorted(map(_container, found), key=lambda each: each.name)
        return [each for each in every if not services or each.service in services]

    def now(self, container: Container) -> Container:
        """Return a container as it is now."""
        return _container(json.loads(docker("inspect", container.id))[0])

    def left(self) -> list[str]:
        """Return what of the project is still there."""
        label = f"--filter=label=com.docker.compose.project={self.name}"
        return [
            *docker("ps", "-aq", label).split(),
            *docker("volume", "ls", "-q", label).split(),
            *docker("network", "ls", "-q", label).split(),
        ]


def _stays(seen: dict[str, Any]) -> bool:
    one_off = seen["Config"]["Labels"].get("com.docker.compose.oneoff") == "True"
    return not one_off and seen["HostConfig"]["RestartPolicy"]["Name"] != "no"
