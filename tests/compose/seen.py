"""What Prometheus and Jaeger of a project say, asked over their published ports. Standard library only."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from typing import Any

from tests.compose.engine import Failed

ANSWER_S = 10


def fetch(url: str, *, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Any:
    """Return the JSON at an address; None for 404. Raises Failed."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})  # noqa: S310 - http
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310 - see above
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise Failed(f"{url} answered {error.code}: {error.read()[:500]!r}") from error
    except OSError as error:
        raise Failed(f"{url} did not answer: {error}") from error


class Jaeger:
    """Its query API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def services_in(self, trace_id: str) -> Counter[str]:
        """Return how many spans of each service a trace has; empty while it is not there."""
        found = fetch(f"{self._url}/api/traces/{trace_id}")
        if not found or not found.get("data"):
            return Counter()
        trace = found["data"][0]
        return Counter(trace["processes"][span["processID"]]["serviceName"] for span in trace["spans"])


class Prometheus:
    """Its HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def targets(self) -> dict[str, list[str]]:
        """Return for each job the health of its targets; why, where it is not `up`."""
        jobs: dict[str, list[str]] = {}
        for each in fetch(f"{self._url}/api/v1/targets?state=active")["data"]["activeTargets"]:
            told = each["health"] if each["health"] != "down" else f"{each['scrapeUrl']}: {each['lastError']}"
            jobs.setdefault(each["labels"]["job"], []).append(told)
        return jobs

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        text = urllib.parse.urlencode({"query": expression})
        found: list[dict[str, Any]] = fetch(f"{self._url}/api/v1/query?{text}")["data"]["result"]
        return found

    def rules(self) -> int:
        """Return how many rules it has. Raises Failed if one cannot be evaluated."""
        rules = [rule for group in fetch(f"{self._url}/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
        wrong = [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] == "err"]
        if wrong:
            raise Failed(f"rules that cannot be evaluated: {wrong}")
        return len(rules)
