"""The objectives, and the rules that watch how fast what may go wrong is used up.

After "Alerting on SLOs" of The Site Reliability Workbook, chapter 5: several windows, several rates. A page when a
thirtieth of a month's budget would be gone within an hour or a twentieth within six; a ticket when a tenth would be
within three days. The short window beside each long one ends the alert soon after the fault has ended.
"""

from dataclasses import dataclass
from typing import Any, Final

_SUBMIT: Final = 'route=~"/v1/tasks|/v1/tasks/batch",method="POST"'
WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
_FAST: Final = (("1h", "5m", 14.4), ("6h", "30m", 6))
_SLOW: Final = (("1d", "2h", 3), ("3d", "6h", 1))


@dataclass(frozen=True, slots=True)
class Objective:
    """`bad` and `all` are rates with {window} for their range; `budget` is the part of all that may be bad."""

    name: str
    says: str
    budget: float
    bad: str
    all: str


def _beyond(histogram: str, bound: str, labels: str) -> str:
    of_all = f"sum(rate({histogram}_count{{{labels}}}[{{window}}]))"
    return f'{of_all} - sum(rate({histogram}_bucket{{{labels + "," if labels else ""}le="{bound}"}}[{{window}}]))'


OBJECTIVES: Final = (
    Objective(
        "submit-availability",
        "999 of 1,000 submissions get an answer that is not a fault of ours (5xx)",
        0.001,
        f'sum(rate(milepost_http_requests_total{{{_SUBMIT},status_class="5xx"}}[{{window}}])) or vector(0)',
        f"sum(rate(milepost_http_requests_total{{{_SUBMIT}}}[{{window}}]))",
    ),
    Objective(
        "submit-latency",
        "99 of 100 submissions are answered within 0.25 s",
        0.01,
        _beyond("milepost_http_request_duration_seconds", "0.25", _SUBMIT),
        f"sum(rate(milepost_http_request_duration_seconds_count{{{_SUBMIT}}}[{{window}}]))",
    ),
    Objective(
        "progress-freshness",
        "99 of 100 pieces of progress are with those who watch within 2 s",
        0.01,
        _beyond("milepost_progress_freshness_seconds", "2.0", ""),
        "sum(rate(milepost_progress_freshness_seconds_count[{window}]))",
    ),
)


def rules() -> dict[str, Any]:
    """Return the groups of rules, as Prometheus reads them."""
    recorded = []
    for objective in OBJECTIVES:
        recorded.append(
            {"record": "milepost:objective_budget", "expr": f"vector({objective.budget})", "labels": _of(objective)}
        )
        recorded += [
            {
                "record": f"milepost:objective_errors:ratio_rate{window}",
                "expr": f"(({objective.bad}) / ({objective.all}))".replace("{window}", window),
                "labels": _of(objective),
            }
            for window in WINDOWS
        ]
    return {
        "groups": [
            {"name": "milepost-objectives", "rules": recorded},
            {
                "name": "milepost-budgets",
                "rules": [
                    _alert(
                        "MilepostBudgetBurnsFast",
                        _FAST,
                        "page",
                        "{{ $labels.objective }}: the month's budget will be gone within days",
                    ),
                    _alert(
                        "MilepostBudgetBurnsSlow",
                        _SLOW,
                        "ticket",
                        "{{ $labels.objective }}: the month's budget will not last",
                    ),
                ],
            },
        ]
    }


def _of(objective: Objective) -> dict[str, str]:
    return {"objective": objective.name}


def _alert(name: str, pairs: tuple[tuple[str, str, float], ...], severity: str, summary: str) -> dict[str, Any]:
    def burns(window: str, times: float) -> str:
        ratio = f"milepost:objective_errors:ratio_rate{window}"
        return f"{ratio} > on (objective) {times:g} * milepost:objective_budget"

    both = [f"({burns(long, times)} and on (objective) {burns(short, times)})" for long, short, times in pairs]
    return {
        "alert": name,
        "expr": "\nor ".join(both),
        "labels": {"severity": severity},
        "annotations": {
            "runbook": f"docs/runbooks/{name}.md",
            "summary": summary,
            "description": "{{ $value | humanizePercentage }} were not as promised. docs/operations.md says what is.",
        },
    }
