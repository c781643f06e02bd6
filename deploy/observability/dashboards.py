"""The dashboards, one for each question an operator comes with; `make dashboards` writes them as JSON."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableRefresh,
)
from grafana_foundation_sdk.models.units import (
    BytesPerSecondSI,
    NoUnit,
    PercentUnit,
    Seconds,
)

from deploy.observability.objectives import OBJECTIVES

_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="prometheus")
_TALL: Final = 8
_PER_SECOND: Final = "cps"
SERVICES: Final = ("api", "worker", "notifier")


@dataclass(frozen=True, slots=True)
class Panel:
    """A title, what it says to somebody who sees it for the first time, a unit, and (query, name of its lines)."""

    title: str
    says: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    wide: int = 8
    number: bool = False
    """One number, of now, in place of lines over time."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels. `chosen`: a label, of a metric, whose values can be chosen above."""

    uid: str
    title: str
    says: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    chosen: tuple[str, str] | None = None


def _quantiles(histogram: str, labels: str = "", by: str = "") -> tuple[tuple[str, str], ...]:
    within = f"{{{labels}}}" if labels else ""
    kept = f"le, {by}" if by else "le"
    name = f" {{{{{by}}}}}" if by else ""
    return tuple(
        (
            f"histogram_quantile({q}, sum by ({kept}) (rate({histogram}_bucket{within}[$__rate_interval])))",
            f"p{q[2:]}{name}",
        )
        for q in ("0.50", "0.95", "0.99")
    )


def _rate(counter: str, by: str, labels: str = "") -> tuple[tuple[str, str], ...]:
    within = f"{{{labels}}}" if labels else ""
    return ((f"sum by ({by}) (rate({counter}{within}[$__rate_interval]))", f"{{{{{by}}}}}"),)


OVERVIEW: Final = Dashboard(
    "milepost-overview",
    "Milepost: overview",
    "Is anybody waiting in vain? Left to right a task's way: accepted, waiting, running, ended, told.",
    (
        (
            "What was promised",
            tuple(
                Panel(
                    objective.name.replace("-", " "),
                    f"{objective.says}. Shown: the part that was not so, in an hour; the line is what may be.",
                    PercentUnit,
                    (
                        (f'milepost:objective_errors:ratio_rate1h{{objective="{objective.name}"}}', "last hour"),
                        (f'milepost:objective_budget{{objective="{objective.name}"}}', "allowed"),
                    ),
                )
                for objective in OBJECTIVES
            ),
        ),
        (
            "A task's way",
            (
                Panel(
                    "submitted", "Tasks stored, by queue.", _PER_SECOND, _rate("milepost_submitted_total", "queue"), 6
                ),
                Panel(
                    "waiting",
                    "Tasks that are queued.",
                    NoUnit,
                    (("sum by (queue) (max by (queue, lane, tenant_class) (milepost_queue_depth))", "{{queue}}"),),
                    6,
                ),
                Panel(
                    "oldest that waits",
                    "For how long.",
                    Seconds,
                    (("max by (queue) (milepost_queue_oldest_age_seconds)", "{{queue}}"),),
                    6,
                ),
                Panel("from queued to started", "", Seconds, _quantiles("milepost_schedule_to_start_seconds"), 6),
                Panel(
                    "slots",
                    "What workers can do at once, and do.",
                    NoUnit,
                    (("sum(milepost_slots)", "slots"), ("sum(milepost_slots_busy)", "busy")),
                    6,
                ),
                Panel("ended", "By state.", _PER_SECOND, _rate("milepost_tasks_ended_total", "state"), 6),
                Panel(
                    "retries",
                    "Failed attempts that another follows.",
                    _PER_SECOND,
                    _rate("milepost_retries_total", "queue"),
                    6,
                ),
                Panel(
                    "failed for good",
                    "They are dead letters now.",
                    _PER_SECOND,
                    _rate("milepost_dead_letters_total", "queue"),
                    6,
                ),
            ),
        ),
        (
            "Told",
            (
                Panel(
                    "progress, from its telling to the screen's socket",
                    "",
                    Seconds,
                    _quantiles("milepost_progress_freshness_seconds"),
                    8,
                ),
                Panel(
                    "clients",
                    "Connections, by transport.",
                    NoUnit,
                    (("sum by (transport) (milepost_relay_connections)", "{{transport}}"),),
                    8,
                ),
                Panel(
                    "oldest completion not told to Kafka",
                    "",
                    Seconds,
                    (("max(milepost_outbox_oldest_age_seconds)", "age"),),
                    8,
                ),
            ),
        ),
        (
            "Webhooks",
            (
                Panel(
                    "oldest delivery that is due",
                    "Of webhooks that answer.",
                    Seconds,
                    (("max(milepost_webhook_due_oldest_age_seconds)", "age"),),
                ),
                Panel(
                    "attempts to deliver",
                    "By outcome. again: it did not arrive and will be tried again.",
                    _PER_SECOND,
                    _rate("milepost_webhook_attempts_total", "outcome"),
                ),
                Panel(
                    "webhooks that fail",
                    "Their last attempts all failed, and they are not disabled yet.",
                    NoUnit,
                    (("max(milepost_webhooks_failing)", "webhooks"),),
                ),
            ),
        ),
        (
            "Parts",
            (
                Panel(
                    "processes",
                    "Which can be read.",
                    NoUnit,
                    (('sum by (job) (up{job=~"api|worker|notifier"})', "{{job}}"),),
                    8,
                ),
                Panel(
                    "servers",
                    "1: some process can use it. 0: none can.",
                    NoUnit,
                    (("max by (dependency) (milepost_dependency_up)", "{{dependency}}"),),
                    8,
                ),
                Panel(
                    "alerts that fire",
                    "",
                    NoUnit,
                    (('count by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}"),),
                    8,
                ),
            ),
        ),
    ),
)

_Q: Final = 'queue=~"$queue"'
QUEUE: Final = Dashboard(
    "milepost-queue",
    "Milepost: queue",
    "Why does this queue wait: too much came, too few workers, failures, a limit or a pause?",
    (
        (
            "Waiting",
            (
                Panel(
                    "waiting, by lane",
                    "At most 10,000 of each are counted.",
                    NoUnit,
                    (
                        (
                            f"max by (queue, lane, tenant_class) (milepost_queue_depth{{{_Q}}})",
                            "{{queue}} {{lane}} {{tenant_class}}",
                        ),
                    ),
                ),
                Panel(
                    "oldest, by lane",
                    "",
                    Seconds,
                    (
                        (
                            f"max by (queue, lane, tenant_class) (milepost_queue_oldest_age_seconds{{{_Q}}})",
                            "{{queue}} {{lane}} {{tenant_class}}",
                        ),
                    ),
                ),
                Panel("from queued to started", "", Seconds, _quantiles("milepost_schedule_to_start_seconds", _Q)),
            ),
        ),
        (
            "Coming and going",
            (
                Panel("submitted", "", _PER_SECOND, _rate("milepost_submitted_total", "queue", _Q), 6),
                Panel("ended", "", _PER_SECOND, _rate("milepost_tasks_ended_total", "state", _Q), 6),
                Panel("retries", "", _PER_SECOND, _rate("milepost_retries_total", "queue", _Q), 6),
                Panel("failed for good", "", _PER_SECOND, _rate("milepost_dead_letters_total", "queue", _Q), 6),
            ),
        ),
        (
            "Workers",
            (
                Panel(
                    "workers that serve it",
                    "",
                    NoUnit,
                    ((f"max by (queue) (milepost_queue_workers{{{_Q}}})", "{{queue}}"),),
                ),
                Panel(
                    "running",
                    "As Postgres has it, and as workers have it.",
                    NoUnit,
                    (
                        (f"max by (queue) (milepost_queue_running{{{_Q}}})", "{{queue}}, Postgres"),
                        (f"sum by (queue) (milepost_running{{{_Q}}})", "{{queue}}, workers"),
                    ),
                ),
                Panel(
                    "claimed, by how",
                    "push: by a record from Kafka; turn: by a full worker; steal: found waiting.",
                    _PER_SECOND,
                    _rate("milepost_claims_total", "how"),
                ),
            ),
        ),
    ),
    ("queue", "milepost_submitted_total"),
)

_T: Final = 'type=~"$type"'
TASK: Final = Dashboard(
    "milepost-task",
    "Milepost: task",
    "How do attempts of this type end, and how long do they take? A trace or a log line of one is an exemplar away.",
    (
        (
            "Attempts",
            (
                Panel(
                    "ended, by outcome",
                    "",
                    _PER_SECOND,
                    (
                        (
                            f"sum by (outcome) (rate(milepost_attempt_duration_seconds_count{{{_T}}}[$__rate_interval]))",
                            "{{outcome}}",
                        ),
                    ),
                    12,
                ),
                Panel(
                    "duration",
                    "From the claim to the end being written.",
                    Seconds,
                    _quantiles("milepost_attempt_duration_seconds", _T),
                    12,
                ),
                Panel(
                    "duration, by type",
                    "Median.",
                    Seconds,
                    (
                        (
                            f"histogram_quantile(0.5, sum by (le, type) (rate(milepost_attempt_duration_seconds_bucket{{{_T}}}[$__rate_interval])))",
                            "{{type}}",
                        ),
                    ),
                    12,
                ),
                Panel(
                    "that did not succeed",
                    "Part of all attempts, by type.",
                    PercentUnit,
                    (
                        (
                            f'sum by (type) (rate(milepost_attempt_duration_seconds_count{{{_T},outcome!="succeeded"}}[$__rate_interval])) / sum by (type) (rate(milepost_attempt_duration_seconds_count{{{_T}}}[$__rate_interval]))',
                            "{{type}}",
                        ),
                    ),
                    12,
                ),
            ),
        ),
        (
            "Ownership",
            (
                Panel("leases lost", "By reason.", _PER_SECOND, _rate("milepost_leases_lost_total", "reason"), 6),
                Panel(
                    "taken back",
                    "From workers that are gone, by reason.",
                    _PER_SECOND,
                    _rate("milepost_taken_back_total", "reason"),
                    6,
                ),
                Panel(
                    "fenced writes",
                    "Outcomes that came too late.",
                    _PER_SECOND,
                    (("sum(rate(milepost_fenced_writes_total[$__rate_interval]))", "writes"),),
                    6,
                ),
                Panel(
                    "handlers that did not end",
                    "",
                    NoUnit,
                    (("sum by (instance) (milepost_leftovers)", "{{instance}}"),),
                    6,
                ),
            ),
        ),
    ),
    ("type", "milepost_attempt_duration_seconds_count"),
)

RELAY: Final = Dashboard(
    "milepost-relay",
    "Milepost: relay",
    "Is what people see old, and if so: for all, or for those who are slow?",
    (
        (
            "Freshness",
            (
                Panel(
                    "event to Redis",
                    "By the clock of whoever made it.",
                    Seconds,
                    _quantiles("milepost_event_lag_seconds"),
                ),
                Panel("progress to socket", "", Seconds, _quantiles("milepost_progress_freshness_seconds")),
                Panel(
                    "events behind",
                    "",
                    NoUnit,
                    (('sum by (topic) (milepost_consumer_lag_records{job="notifier"})', "{{topic}}"),),
                ),
            ),
        ),
        (
            "Clients",
            (
                Panel(
                    "connections",
                    "",
                    NoUnit,
                    (("sum by (instance, transport) (milepost_relay_connections)", "{{instance}} {{transport}}"),),
                    6,
                ),
                Panel("subscriptions", "", NoUnit, (("sum by (kind) (milepost_relay_subscriptions)", "{{kind}}"),), 6),
                Panel("closed, by reason", "", _PER_SECOND, _rate("milepost_relay_closed_total", "reason"), 6),
                Panel("not let in, by status", "", _PER_SECOND, _rate("milepost_relay_refused_total", "status"), 6),
            ),
        ),
        (
            "Frames",
            (
                Panel("written", "By kind.", _PER_SECOND, _rate("milepost_frames_total", "kind"), 6),
                Panel(
                    "bytes",
                    "",
                    BytesPerSecondSI,
                    (("sum(rate(milepost_frame_bytes_total[$__rate_interval]))", "bytes"),),
                    6,
                ),
                Panel(
                    "made less of for slow clients",
                    "Coalesced: newer progress took the place of older. Dropped: a snapshot makes up for it.",
                    _PER_SECOND,
                    (
                        ("sum(rate(milepost_frames_coalesced_total[$__rate_interval]))", "coalesced"),
                        ("sum(rate(milepost_frames_dropped_total[$__rate_interval]))", "dropped"),
                        ("sum(rate(milepost_resets_total[$__rate_interval]))", "resets"),
                    ),
                    6,
                ),
                Panel(
                    "clients told less",
                    "",
                    NoUnit,
                    (("sum by (instance) (milepost_relay_lagging)", "{{instance}}"),),
                    6,
                ),
            ),
        ),
    ),
)

SERVERS: Final = Dashboard(
    "milepost-servers",
    "Milepost: Kafka, Postgres, Redis",
    "Which of the servers below holds the services up, as they see it? (Their own exporters say what they see.)",
    (
        (
            "There",
            (
                Panel(
                    "can be used",
                    "By whom; 1: it can.",
                    NoUnit,
                    (("milepost_dependency_up", "{{job}} {{instance}} {{dependency}}"),),
                    24,
                ),
            ),
        ),
        (
            "Postgres",
            (
                Panel(
                    "statements that wait for a connection",
                    "",
                    NoUnit,
                    (("milepost_pool_waiting", "{{job}} {{instance}}"),),
                ),
                Panel(
                    "connections busy",
                    "Part of those a process may have.",
                    PercentUnit,
                    (
                        (
                            'milepost_pool_connections{state="busy"} / ignoring (state) milepost_pool_size',
                            "{{job}} {{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "renewals that failed",
                    "Of leases.",
                    _PER_SECOND,
                    _rate("milepost_renewals_failed_total", "instance"),
                ),
                Panel("due and not queued", "", Seconds, (("max(milepost_due_oldest_age_seconds)", "age"),)),
                Panel("leases over and not taken back", "", Seconds, (("max(milepost_lease_overdue_seconds)", "age"),)),
                Panel("completions that wait", "", NoUnit, (("max(milepost_outbox_rows)", "rows"),)),
            ),
        ),
        (
            "Kafka",
            (
                Panel(
                    "records behind, by topic",
                    "",
                    NoUnit,
                    (("sum by (topic) (milepost_consumer_lag_records)", "{{topic}}"),),
                ),
                Panel(
                    "not acknowledged", "", NoUnit, (("milepost_kafka_unacknowledged_records", "{{job}} {{instance}}"),)
                ),
                Panel(
                    "set aside",
                    "Records nobody could read.",
                    _PER_SECOND,
                    _rate("milepost_records_set_aside_total", "topic"),
                ),
            ),
        ),
        (
            "Processes",
            (
                Panel(
                    "event loop late",
                    "p99.",
                    Seconds,
                    (
                        (
                            "histogram_quantile(0.99, sum by (le, job, instance) (rate(milepost_loop_lag_seconds_bucket[$__rate_interval])))",
                            "{{job}} {{instance}}",
                        ),
                    ),
                    6,
                ),
                Panel(
                    "loops blocked",
                    "Times a handler blocked its worker's loop for two seconds or more.",
                    _PER_SECOND,
                    _rate("milepost_loop_blocked_total", "instance"),
                    6,
                ),
                Panel(
                    "processor",
                    "Cores.",
                    NoUnit,
                    (
                        (
                            'rate(process_cpu_seconds_total{job=~"api|worker|notifier"}[$__rate_interval])',
                            "{{job}} {{instance}}",
                        ),
                    ),
                    6,
                ),
                Panel(
                    "memory",
                    "Resident.",
                    "bytes",
                    (('process_resident_memory_bytes{job=~"api|worker|notifier"}', "{{job}} {{instance}}"),),
                    6,
                ),
            ),
        ),
    ),
)

DASHBOARDS: Final = (OVERVIEW, QUEUE, TASK, RELAY, SERVERS)


def queries(dashboard: Dashboard) -> Sequence[str]:
    """Return all queries of a dashboard, as they stand in it."""
    return [query for _, panels in dashboard.rows for panel in panels for query, _ in panel.queries]


def made(dashboard: Dashboard) -> board.Dashboard:
    """Return the dashboard as Grafana's builder has it."""
    whole = (
        board.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .description(dashboard.says)
        .tags(["milepost"])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("10s")
        .time("now-1h", "now")
        .link(board.DashboardLink("Milepost").type(DashboardLinkType.DASHBOARDS).tags(["milepost"]).keep_time(True))
    )
    if dashboard.chosen is not None:
        label, metric = dashboard.chosen
        whole = whole.with_variable(
            board.QueryVariable(label)
            .datasource(_SOURCE)
            .query(f"label_values({metric}, {label})")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    for title, panels in dashboard.rows:
        whole = whole.with_row(board.Row(title))
        for panel in panels:
            whole = whole.with_panel(_panel(panel))
    return whole


def _panel(panel: Panel) -> Any:
    kind: Callable[[], Any] = stat.Panel if panel.number else timeseries.Panel
    built = kind().title(panel.title).description(panel.says).unit(panel.unit).datasource(_SOURCE)
    built = built.span(panel.wide).height(_TALL).min(0)
    for query, name in panel.queries:
        built = built.with_target(prometheus.Dataquery().expr(query).legend_format(name).exemplar(True))
    return built
