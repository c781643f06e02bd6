"""The chart, rendered by the real helm."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/milepost"
VALUES = Path(__file__).parent / "values"
HELM = ROOT / ".tools/bin/helm"
VALIDATE = ROOT / ".tools/bin/kubectl-validate"
CRDS = ROOT / ".tools/crds"
SCHEMAS = ROOT / ".tools/kubernetes"
"""A folder for each version of Kubernetes that is newer than what kubectl-validate has in it."""
RELEASE = "shop"

Manifest = dict[str, Any]


def needs_tools() -> None:
    """Skip the whole module that says so where helm is not there, unless CHART=required."""
    away = [str(tool.relative_to(ROOT)) for tool in (HELM, VALIDATE, CRDS, SCHEMAS) if not tool.exists()]
    if away and os.environ.get("CHART") != "required":
        pytest.skip(f"`make check-chart` builds {', '.join(away)}", allow_module_level=True)


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm; its output is for the caller to judge."""
    return subprocess.run([str(HELM), *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(*values: Path | str) -> str:
    """Render with files of values, or with `name=value`. Raises RuntimeError with what helm said."""
    asked = [part for value in values for part in (("-f", str(value)) if isinstance(value, Path) else ("--set", value))]
    ran = helm("template", RELEASE, str(CHART), "--namespace", "shop", "--kube-version", "1.30", *asked)
    if ran.returncode:
        raise RuntimeError(ran.stderr)
    return ran.stdout


class Rendered:
    """The manifests of one set of values."""

    def __init__(self, name: str) -> None:
        self.text = template(VALUES / f"{name}.yaml")
        self.all: list[Manifest] = [each for each in yaml.safe_load_all(self.text) if each]

    def of(self, *kinds: str) -> list[Manifest]:
        """Those of some kinds."""
        return [each for each in self.all if each["kind"] in kinds]

    def one(self, kind: str, name: str) -> Manifest:
        """The one of that kind with that name, without the release's own prefix."""
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == f"{RELEASE}-milepost{name}"]
        return found

    def pods(self) -> Iterator[tuple[Manifest, Manifest]]:
        """Each workload, and the template of its pods."""
        for each in self.of("Deployment", "Job"):
            yield each, each["spec"]["template"]

    def matched(self, selector: Manifest) -> list[str]:
        """The names of the workloads whose pods a selector finds."""
        return [each["metadata"]["name"] for each, pod in self.pods() if matches(selector, pod["metadata"]["labels"])]


def matches(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a selector finds something with these labels."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}, selector
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def variables(container: Manifest) -> dict[str, str]:
    """The variables of a container."""
    return {each["name"]: each["value"] for each in container["env"]}


def secret_files(pod: Manifest, container: Manifest) -> dict[str, tuple[str, str]]:
    """The files of Secrets a container sees: path to name and key of the Secret; key `*` where all of it is there."""
    volumes = {each["name"]: each["secret"] for each in pod["volumes"] if "secret" in each}
    found = {}
    for mount in container["volumeMounts"]:
        if secret := volumes.get(mount["name"]):
            assert mount["readOnly"] is True
            assert secret["defaultMode"] == 0o440
            for item in secret.get("items", [{"path": "*", "key": "*"}]):
                found[f"{mount['mountPath']}/{item['path']}"] = (secret["secretName"], item["key"])
    return found
