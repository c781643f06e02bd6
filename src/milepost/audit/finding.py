"""What an audit says."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

INVARIANTS = {
    1: "each accepted task ends in exactly one terminal commit",
    2: "the stored result is that of the epoch that won",
    3: "only legal transitions; attempts within their bound; epochs only grow",
    4: "within an epoch event numbers have no gap and no double",
    5: "a client sees no gap, or a reset, and always the end",
    6: "one idempotency key, one task",
    7: "nothing crosses a tenant",
    8: "accepted = succeeded + failed + cancelled + open",
    9: "after healing the backlog drains within its bound",
    10: "a terminal task has exactly one completion id",
    11: "no task is executed by two live owners at once",
    12: "each end that a webhook is for has exactly one delivery",
}


class Finding(NamedTuple):
    """One thing that is wrong: which invariant it breaks, of which task (None: of the whole), as a sentence."""

    invariant: int
    task: UUID | None
    what: str

    def __str__(self) -> str:
        subject = "" if self.task is None else f"Task {self.task}: "
        return f"[{self.invariant}] {subject}{self.what}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings, and what was looked at: an audit of nothing finds nothing."""

    findings: list[Finding]
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def text(self, most: int = 40) -> str:
        """Return what a person reads: what was looked at, then each finding."""
        looked = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        if self.good:
            return f"The audit found nothing wrong. It looked at {looked}."
        lines = [f"The audit found {len(self.findings):,} faults. It looked at {looked}."]
        lines += [str(finding) for finding in self._shown(most)]
        if len(self.findings) > most:
            kinds = Counter(finding.invariant for finding in self.findings)
            kinds.subtract(finding.invariant for finding in self._shown(most))
            rest = ", ".join(f"{count:,} of invariant {number}" for number, count in sorted((+kinds).items()))
            lines.append(f"… and more: {rest}.")
        return "\n".join(lines)

    def _shown(self, most: int) -> list[Finding]:
        """Return the first of each invariant, so that many of one hide none of another."""
        by_invariant: dict[int, list[Finding]] = {}
        for finding in self.findings:
            by_invariant.setdefault(finding.invariant, []).append(finding)
        share = max(1, most // max(1, len(by_invariant)))
        return [finding for found in by_invariant.values() for finding in found[:share]]
