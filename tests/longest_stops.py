"""How long a service takes to stop when all goes as badly as it may; graces before SIGKILL have to be longer."""

from collections.abc import Mapping

from milepost.runtime.batching import DRAIN_S
from milepost.runtime.settings import Settings
from milepost_api.app import _FLUSH_S as API_FLUSH_S
from milepost_api.server import _GRACE_S as REQUESTS_S
from milepost_notifier.edge import GOODBYES_A_SECOND
from milepost_notifier.service import INGEST_STOP_S
from milepost_worker.attempt import GRACE_S
from milepost_worker.service import FLUSH_AT_STOP_S, GOODBYE_S

CLOSE_S = 2.0
"""A client has so long to answer that its stream is closed."""


def longest_stop_s(service: str, variables: Mapping[str, str]) -> float:
    """Return the seconds from SIGTERM to the end of a process, every step of its stop taking all it is given.

    `variables` are those of its environment; what they do not say has its default.
    """

    def said(name: str) -> float:
        return float(variables.get(f"MILEPOST_{name.upper()}", Settings.model_fields[name].default))

    match service:
        case "api":
            # Requests; what they wrote; Kafka; what Kafka took; when keys were used; connections to Postgres.
            return REQUESTS_S + DRAIN_S + API_FLUSH_S + DRAIN_S + 2 * API_FLUSH_S
        case "notifier":
            return said("max_connections") / GOODBYES_A_SECOND + CLOSE_S + INGEST_STOP_S
        case "worker":
            given_back = GRACE_S + 2.0 + said("lease")
            return said("drain") + given_back + GOODBYE_S + FLUSH_AT_STOP_S + DRAIN_S
    raise ValueError(f"{service} is none of ours")
