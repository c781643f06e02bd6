"""deploy/try-compose: from nothing to a system in containers, each killed under load, an audit, and nothing again.

Needs Docker, Compose and root (to kill a container's process from outside). It has a project, volumes, a network and a
port of its own, so an installation on this machine is left alone.
"""

import sys
from pathlib import Path

from tests.compose import course
from tests.compose.engine import Failed, Project
from tests.compose.promises import Proxy, keeps
from tests.compose.settings import secrets_of
from tests.compose.stand_ins import provide
from tests.compose.told import Trial
from tests.compose.trying import Step, say, tried

NETWORK = "172.31.241"
IMAGES = ("haproxy:3.0", "postgres:17", "valkey/valkey:8", "apache/kafka:4.3.1")
MORE = ("--scale=worker=3", "--scale=notifier=2", "--scale=api=2")
FEWER = ("--scale=worker=2", "--scale=notifier=1", "--scale=api=1")


def kill_each(project: Project, folder: Path, settings: dict[str, str], step: Step) -> None:
    """Go the whole way. Raises Failed."""
    if made := provide(*IMAGES):
        step(f"stand-ins, made here, of {', '.join(made)}")
    project.compose("up", "--build", "--wait")
    step("docker compose up --build --wait: " + ", ".join(each.name for each in project.containers()))
    step("confined, as the kernel sees it:")
    course.looks_confined(project)
    course.touches_nothing(project)
    say("  nobody can write to /, nor can root inside")
    secrets = secrets_of(settings)
    course.shows_no_secret(project, secrets.values())
    say("  no secret is in what Docker and Compose say of them, nor in the environment of ours")
    with (folder / "trial.log").open("w") as log:
        trial = Trial(project, log)
        try:
            lines = course.demonstrates(project, trial)
            step(f"docker compose run demo: {lines[0]} … and {len(lines) - 1} lines more")
            proxy = Proxy(settings["MILEPOST_URL"], secrets["api_key"])
            step("through the proxy: " + "; ".join(keeps(proxy)))
            trial.ask(do="known", tasks=proxy.submitted)
            _under_load(project, trial, step)
        finally:
            trial.end()


def _under_load(project: Project, trial: Trial, step: Step) -> None:
    project.compose("up", "--wait", "--no-recreate", *MORE)
    step("docker compose up " + " ".join(MORE))
    trial.ask(do="open", clients=course.CLIENTS, readers=course.READERS)
    step(f"{course.CLIENTS} WebSockets and {course.READERS} readers of server-sent events came through the proxy")
    course.spreads(project)
    trial.ask(do="load", rate=course.RATE)
    trial.ask(do="more", accepted=2 * course.RATE, ended=5)
    step(f"{course.RATE} tasks a second; kill -9 of each container in turn:")
    for victim in project.containers():
        course.survives_a_kill(project, victim, trial)
    project.compose("up", "--wait", "--no-recreate", *FEWER)
    trial.ask(do="more", accepted=2 * course.RATE, ended=5)
    step("docker compose up " + " ".join(FEWER) + ": who is left does it all")
    verdict = trial.ask(do="verify")
    step(
        f"audit: {verdict['verdict']}\n  {verdict['watched']} watches, {verdict['connects']} connections of"
        f" {course.CLIENTS} clients, answers that were repeated: {verdict['answers_to_repeat']}\n"
        f"  webhooks: {verdict['told']} ends told, {verdict['told_again']} of them again"
    )
    if not verdict["good"]:
        raise Failed(
            f"the audit has findings or lacks a book, or clients were refused or not told: {verdict['refused']}"
        )


if __name__ == "__main__":
    sys.exit(
        tried("deploy/try-compose", __doc__, "milepost-trial", NETWORK, kill_each, "tests/compose/trial.yml"),
    )
