"""Write what is made of code: the rules of the objectives, the chart's copy of all rules, and dashboards."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.observability.dashboards import DASHBOARDS, made
from deploy.observability.objectives import rules

HERE: Final = Path(__file__).parents[1]
_HEAD: Final = "# Made of deploy/observability/objectives.py by `make dashboards`.\n"


def files() -> Iterator[tuple[Path, str]]:
    """Yield each file and what stands in it."""
    objectives = _HEAD + yaml.safe_dump(rules(), sort_keys=False, width=120)
    yield HERE / "prometheus/rules/objectives.yml", objectives
    # A chart can only read what is inside it.
    yield HERE / "helm/milepost/files/rules/objectives.yml", objectives
    alerts = HERE / "prometheus/rules/alerts.yml"
    yield HERE / "helm/milepost/files/rules/alerts.yml", alerts.read_text(encoding="utf-8")
    for dashboard in DASHBOARDS:
        text = JSONEncoder(sort_keys=True, indent=1).encode(made(dashboard).build())
        # Whole numbers and no empty members, so that what changes is what was changed.
        yield HERE / f"grafana/dashboards/{dashboard.uid}.json", json.dumps(json.loads(text), indent=1) + "\n"


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m deploy.observability", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; say what is old, and exit with status 1")
    check = parser.parse_args().check
    old = [file for file, text in files() if not file.exists() or file.read_text(encoding="utf-8") != text]
    if check:
        for file in old:
            print(f"{file.relative_to(HERE.parent)} is not as the code makes it. Run: make dashboards")
        return 1 if old else 0
    for file, text in files():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
