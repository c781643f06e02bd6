"""What the tests of the repository analysis share."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from examples.repository_analysis.analysis import Commit, analyse_files
from examples.repository_analysis.models import AnalyseRepository, Framework, Report, Tally

COMMIT = Commit(repository="/srv/example", hash="0" * 40, files=0)


def analysed(files: Mapping[str, str | bytes], **limits: object) -> Report:
    """The report of files given by path, every case listed."""
    request = AnalyseRepository.model_validate({"repository": "/srv/example", "include_cases": True} | limits)
    data = [(path, text.encode() if isinstance(text, str) else text) for path, text in files.items()]
    return analyse_files(request, data, COMMIT)


def counts(report: Report, framework: Framework | None = None) -> dict[str, int]:
    """The counts that are not zero, of the whole or of one framework."""
    tally: Tally = report.total
    if framework is not None:
        tally = next(tally for tally in report.frameworks if tally.framework is framework)
    return {name: number for name in Tally.model_fields if (number := getattr(tally, name))}


def names(report: Report) -> list[str]:
    """The full name of every case, in the order they were found."""
    return [case.name for case in report.cases or []]


def git(directory: Path, *arguments: str) -> str:
    """Run git as a person would, who has a name."""
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    ran = subprocess.run(["git", *who, *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


def commit(directory: Path, files: Mapping[str, str | bytes], message: str = "Add files") -> str:
    """Write files, commit everything, and return the commit's hash; the repository is made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / ".git").exists():
        git(directory, "init", "--quiet", "--initial-branch=main")
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(text.encode() if isinstance(text, str) else text)
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(directory, "rev-parse", "HEAD")
