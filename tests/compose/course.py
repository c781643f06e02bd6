"""What is done to the system in containers, one step after the other; each step says what it saw or raises Failed."""

import subprocess
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.compose.engine import Container, Failed, Project, docker, wait_for
from tests.compose.told import Trial
from tests.compose.trying import say

WELL_S = 240.0
"""Beside other work on two cores Kafka alone has taken 90."""
STREAM_PORT = 8001
CLIENTS = 200
READERS = 20
RATE = 20
WRITES_ITS_ROOT = {"kafka"}
NO_CAPABILITIES = "0" * 16
OURS = {"api", "notifier", "worker"}


def demonstrates(project: Project, trial: Trial) -> list[str]:
    """Run the demo and return its lines; the trial gets to know its task."""
    lines = project.compose("run", "--rm", "-T", "demo").splitlines()
    trial.ask(do="known", tasks=[lines[0].rpartition(" ")[2]])
    return lines


def looks_confined(project: Project) -> None:
    """Look at each container from the kernel's side."""
    for container in project.containers():
        seen = {
            "user": container.status("Uid").split()[0],
            "capabilities": container.status("CapEff"),
            "no new privileges": container.status("NoNewPrivs"),
            "read-only": container.root_is_read_only(),
        }
        wrong = [
            seen["user"] == "0",
            seen["capabilities"] != NO_CAPABILITIES,
            seen["no new privileges"] != "1",
            not seen["read-only"] and container.service not in WRITES_ITS_ROOT,
        ]
        if any(wrong):
            raise Failed(f"{container.name} is not confined: {seen}")
        say(f"  {container.name:<18} user {seen['user']:<6} root {'read-only' if seen['read-only'] else 'writable'}")


def touches_nothing(project: Project) -> None:
    """Try to write beside the volumes, as the user of the container and as its root."""
    for container in project.containers():
        if container.service in WRITES_ITS_ROOT:
            continue
        for user in ((), ("--user=0",)):
            done = subprocess.run(
                ("docker", "exec", *user, container.id, "touch", "/touched"), capture_output=True, check=False
            )
            if done.returncode == 0:
                raise Failed(f"{container.name} can write to /")


def shows_no_secret(project: Project, secrets: Collection[str]) -> None:
    """Look for secrets in what anybody reads who may ask Docker or Compose, and in the environment of our processes."""
    said = {"docker compose config": project.compose("config")}
    for container in project.containers():
        said[f"docker inspect {container.name}"] = docker("inspect", container.id)
        if container.service in OURS:
            said[f"the environment of {container.name}"] = Path(f"/proc/{container.pid}/environ").read_text()
            if "_FILE=/run/secrets/" not in said[f"the environment of {container.name}"]:
                raise Failed(f"{container.name} is given no secret as a file")
    for where, text in said.items():
        if any(secret in text for secret in secrets):
            raise Failed(f"{where} shows a secret")


def spreads(project: Project) -> Counter[str]:
    """Return how many WebSockets each notifier has; fail unless each has its share."""
    having = Counter({each.name: each.connections(STREAM_PORT) for each in project.containers("notifier")})
    share = having.total() // len(having)
    say("  WebSockets: " + ", ".join(f"{name} {count}" for name, count in sorted(having.items())))
    if having.total() < CLIENTS or min(having.values()) < share * 3 // 4:
        raise Failed(f"the clients are not spread over the notifiers: {dict(having)}")
    return having


def survives_a_kill(project: Project, victim: Container, trial: Trial) -> dict[str, Any]:
    """SIGKILL one container's first process; wait until it is back, and until the system does its work again."""
    before = trial.ask(do="more", accepted=1, ended=1)
    victim.kill()

    def back() -> bool:
        now = project.now(victim)
        return now.well and now.started_at != victim.started_at

    took = wait_for(f"{victim.name} to be back by its restart policy", back, WELL_S)
    wait_for("all to be well", lambda: all(each.well for each in project.containers()), WELL_S)
    after = trial.ask(do="more", accepted=RATE, ended=5)
    accepted, ended = (after[name] - before[name] for name in ("accepted", "ended"))
    say(
        f"  {victim.name:<18} back and well after {took:4.1f} s;"
        f" since the kill {accepted:4} tasks accepted, {ended:3} watches ended"
    )
    return after
