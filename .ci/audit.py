#!/usr/bin/env python3
"""Ask PyPI whether a version in requirements.lock is known to be vulnerable.

Exit status: 0 none is, or nobody could be asked (which is said); 1 one is; 2 nobody could be asked and AUDIT=required.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOOL = "pip-audit==2.10.1"
PATIENCE_S = 120
CANARY = "requests"
"""Of the lock as well: where this is unknown, it is no PyPI that knows of vulnerabilities that was asked."""
ACCEPTED: dict[str, str] = {}
"""Id of a vulnerability, and why it does not matter here."""


def pinned() -> list[str]:
    """Return `name==version` for each package of the lock."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return sorted({found[0] for line in lines if (found := re.match(r"[A-Za-z0-9._-]+==[^ ;\\]+", line))})


def ask(requirements: list[str]) -> list[dict[str, Any]]:
    """Return what PyPI says of these. Raises RuntimeError if the tool cannot be had, or says nothing."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        ran = subprocess.run(
            [
                *(ROOT / ".tools/bin/uv", "run", "--quiet", "--no-project", "--with", TOOL, "pip-audit"),
                *(
                    "--requirement",
                    listed,
                    "--no-deps",
                    "--disable-pip",
                    "--format",
                    "json",
                    "--progress-spinner",
                    "off",
                ),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    try:
        answers: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError) as error:
        raise RuntimeError(
            ran.stderr.strip().rpartition("\n")[2] or f"pip-audit ended with {ran.returncode}"
        ) from error
    return answers


def judge(answers: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return a line for each vulnerability, and one for each package of which nothing is known."""
    bad = [
        f"{each['name']} {each['version']}: {found['id']}, "
        f"fixed in {', '.join(found['fix_versions']) or 'no version yet'}"
        for each in answers
        for found in each.get("vulns", ())
        if not {found["id"], *found.get("aliases", ())} & ACCEPTED.keys()
    ]
    return bad, [f"{each['name']}: {each['skip_reason']}" for each in answers if "skip_reason" in each]


def main() -> int:
    """Audit, and say how it went."""
    packages = pinned()
    try:
        canary = [each for each in packages if each.startswith(f"{CANARY}==")]
        if not canary:
            raise RuntimeError(f"{CANARY} is not in the lock any more; name another CANARY in .ci/audit.py.")
        bad, unknown = judge(ask(canary))
        if not unknown:
            bad, unknown = judge(ask(packages))
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        bad, unknown = [], [str(error)]
    for line in bad:
        print(f"vulnerable: {line}")
    if bad:
        print("Take newer versions with `make lock`; if one does not matter here, say why in ACCEPTED of .ci/audit.py.")
        return 1
    if unknown:
        print(f"The dependencies were not audited, or not all of them: {unknown[0]}")
        return 2 if os.environ.get("AUDIT") == "required" else 0
    print(f"No known vulnerabilities in {len(packages)} packages.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
