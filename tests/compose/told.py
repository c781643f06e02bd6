"""What is said, and the pipe to the trial that runs in the project's networks."""

import json
import subprocess
import sys
from typing import IO, Any

from tests.compose.engine import Failed, Project


class Trial:
    """The load, the clients and the auditor: see trial.py."""

    def __init__(self, project: Project, log: IO[str]) -> None:
        self._process: subprocess.Popen[str] = project.begin("run", "--rm", "-T", "trial", stderr=log)

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command; return the answer. Raises Failed if it says that there is a problem, or nothing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Failed("the trial ended; what it said is in trial.log")
        answer: dict[str, Any] = json.loads(line)
        if "problem" in answer:
            raise Failed(f"{answer.pop('problem')}: {answer}")
        return answer

    def end(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            print("the trial did not end by itself", file=sys.stderr)  # noqa: T201 - this is a command
