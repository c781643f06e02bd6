"""The auditor: whether what Postgres holds, what Kafka carried and what clients saw agree (docs/auditing.md)."""

from milepost.audit.audit import audit, check
from milepost.audit.facts import Facts, Record, Watch
from milepost.audit.finding import Finding, Verdict

__all__ = ["Facts", "Finding", "Record", "Verdict", "Watch", "audit", "check"]
