"""What is measured: every metric with its meaning, unit, labels and buckets. docs/metrics.md is made of this file.

Never a label: a tenant, a task, an address, a message. Values that people make up are bounded, see `bounded`.
"""

from typing import Final

from milepost.runtime.metrics.instruments import ALL, API, NOTIFIER, WORKER, Counter, Gauge, Histogram

ANSWERS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAITS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
RUNS_S: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
NEWS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
TURNS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# -- every process

BUILD = Gauge(
    "milepost_build_info", "Always 1: which version of which service this process is.", ALL, ("service", "version")
)
DEPENDENCY_UP = Gauge(
    "milepost_dependency_up",
    "Whether a dependency (postgres, kafka, redis) works as this process sees it, 1 or 0; looked at every two seconds.",
    ALL,
    ("dependency",),
)
LOOP_LAG = Histogram(
    "milepost_loop_lag_seconds",
    "How late the event loop gets to what is due; looked at four times a second.",
    ALL,
    buckets=TURNS_S,
)
POOL_CONNECTIONS = Gauge(
    "milepost_pool_connections",
    "Connections to Postgres of this process, by state: busy, or idle.",
    ALL,
    ("state",),
)
POOL_SIZE = Gauge("milepost_pool_size", "Connections to Postgres this process may have at most.", ALL)
POOL_WAITING = Gauge("milepost_pool_waiting", "Statements that wait for a connection to Postgres.", ALL)
KAFKA_UNSENT = Gauge(
    "milepost_kafka_unacknowledged_records", "Records handed to the Kafka producer and not acknowledged yet.", ALL
)
CONSUMER_LAG = Gauge(
    "milepost_consumer_lag_records",
    "Records of a topic behind this process, in the partitions it has; looked at every few seconds. Add up over"
    " processes. Of work topics these are hints, which may be stale: how many tasks wait, milepost_queue_depth says.",
    (WORKER, NOTIFIER),
    ("topic",),
)

# -- api: requests

HTTP_REQUESTS = Counter(
    "milepost_http_requests_total",
    "Requests answered, by the route's pattern (unmatched: no such path), method and class of the status (2xx to 5xx).",
    (API,),
    ("route", "method", "status_class"),
)
HTTP_SECONDS = Histogram(
    "milepost_http_request_duration_seconds",
    "From the request's headers to the answer, without the time its caller asked to wait (Prefer: wait).",
    (API,),
    ("route", "method"),
    buckets=ANSWERS_S,
    exemplars=True,
)
SUBMITTED = Counter(
    "milepost_submitted_total", "Tasks stored, by queue; not those an idempotency key found.", (API,), ("queue",)
)

# -- api: what Postgres knows

QUEUE_DEPTH = Gauge(
    "milepost_queue_depth",
    "Tasks that are queued, by queue, lane (high, normal, low) and tenant_class: own for the installation's own tenant,"
    " other for all others. No number where nothing waits. At most 10,000 of each are counted.",
    (API,),
    ("queue", "lane", "tenant_class"),
)
QUEUE_OLDEST = Gauge(
    "milepost_queue_oldest_age_seconds",
    "For how long the oldest queued task has been queued. No number where nothing waits.",
    (API,),
    ("queue", "lane", "tenant_class"),
    unit="seconds",
)
QUEUE_RUNNING = Gauge("milepost_queue_running", "Tasks that run, by queue, as Postgres has it.", (API,), ("queue",))
QUEUE_WORKERS = Gauge(
    "milepost_queue_workers", "Live workers that serve a queue (a worker may serve several).", (API,), ("queue",)
)
DUE_OLDEST = Gauge(
    "milepost_due_oldest_age_seconds",
    "For how long a scheduled task has been due without being queued; 0 when none is. Over a few seconds: no worker"
    " makes the due pass.",
    (API,),
    unit="seconds",
)
LEASE_OLDEST = Gauge(
    "milepost_lease_overdue_seconds",
    "For how long a lease has been over without the task being taken back; 0 when none is. Over a few seconds: no"
    " worker sweeps.",
    (API,),
    unit="seconds",
)
OUTBOX_ROWS = Gauge(
    "milepost_outbox_rows", "Completions that Kafka has not acknowledged; at most 10,000 are counted.", (API,)
)
OUTBOX_OLDEST = Gauge(
    "milepost_outbox_oldest_age_seconds",
    "For how long the oldest completion has waited for Kafka; 0 when none waits.",
    (API,),
    unit="seconds",
)
WEBHOOK_WAITING = Gauge(
    "milepost_webhook_deliveries_waiting",
    "Deliveries that are pending or being sent, of webhooks that answer; at most 10,000 of each are counted.",
    (API,),
)
WEBHOOK_OLDEST = Gauge(
    "milepost_webhook_due_oldest_age_seconds",
    "For how long the oldest delivery to a webhook that answers has been due without being sent; 0 when none is.",
    (API,),
    unit="seconds",
)
WEBHOOKS_FAILING = Gauge(
    "milepost_webhooks_failing", "Webhooks whose last attempts all failed, and that are not disabled yet.", (API,)
)

# -- worker

SCHEDULE_TO_START = Histogram(
    "milepost_schedule_to_start_seconds",
    "From when a task was queued (submitted, due, or due again after a failure) to its claim, by the clock of Postgres."
    " Not observed where it is claimed again after a lost lease or a release: it had been started.",
    (WORKER,),
    ("queue", "lane"),
    buckets=WAITS_S,
    exemplars=True,
)
ATTEMPT_SECONDS = Histogram(
    "milepost_attempt_duration_seconds",
    "From the claim to the end of the attempt being written, by type and outcome: succeeded, retrying, failed (for"
    " good), cancelled, released (a drain), lost (the lease or the task).",
    (WORKER,),
    ("type", "outcome"),
    buckets=RUNS_S,
    exemplars=True,
)
ENDED = Counter(
    "milepost_tasks_ended_total",
    "Tasks brought to their end, by queue and state: succeeded, failed, cancelled. By whoever did it: a worker (also"
    " one whose sweep or due pass ended it) or the api (what was cancelled before it ran).",
    (API, WORKER),
    ("queue", "state"),
)
DEAD_LETTERS = Counter(
    "milepost_dead_letters_total",
    "Tasks that failed for good, by queue: the part of milepost_tasks_ended_total with the state failed.",
    (WORKER,),
    ("queue",),
)
RETRIES = Counter(
    "milepost_retries_total", "Failed attempts that another will follow, by queue.", (WORKER,), ("queue",)
)
CLAIMS = Counter(
    "milepost_claims_total",
    "Tasks claimed, by how: push (its hint was read), steal (queued for long and taken from Postgres), turn (taken from"
    " Postgres by a worker whose slots were all taken).",
    (WORKER,),
    ("how",),
)
SLOTS = Gauge("milepost_slots", "Tasks this worker runs at once at most.", (WORKER,))
SLOTS_BUSY = Gauge(
    "milepost_slots_busy", "Slots taken: by what runs, by claims under way, by leftovers of ended attempts.", (WORKER,)
)
RUNNING = Gauge("milepost_running", "Attempts under way in this worker, by queue.", (WORKER,), ("queue",))
LEFTOVERS = Gauge("milepost_leftovers", "Handlers that go on although their attempt is over.", (WORKER,))
LEASES_LOST = Counter(
    "milepost_leases_lost_total",
    "Attempts stopped because the task was not surely ours any more, by reason: fenced (it is somebody else's), expired"
    " (the lease could not be renewed), absent (no connection to hold the presence), blocked (the handler blocked the"
    " loop).",
    (WORKER,),
    ("reason",),
)
FENCED_WRITES = Counter(
    "milepost_fenced_writes_total",
    "Outcomes that Postgres did not take, because the task had gone to somebody else or the outcome had been written"
    " before.",
    (WORKER,),
)
TAKEN_BACK = Counter(
    "milepost_taken_back_total",
    "Tasks this worker's sweep took back, by reason: lease_lost (the lease ran out, or the worker was dead), blocked"
    " (its handler blocked the loop), released (its worker gave it back), other.",
    (WORKER,),
    ("reason",),
)
LOOP_BLOCKED = Counter(
    "milepost_loop_blocked_total", "Times a handler blocked this worker's loop for two seconds or more.", (WORKER,)
)
RENEWALS_FAILED = Counter(
    "milepost_renewals_failed_total", "Renewals of leases that Postgres did not answer or refused.", (WORKER,)
)
SET_ASIDE = Counter(
    "milepost_records_set_aside_total",
    "Records that cannot be processed, put on milepost.dead-letters, by topic.",
    (WORKER, NOTIFIER),
    ("topic",),
)
OUTBOX_OVERDUE = Counter(
    "milepost_outbox_overdue_total",
    "Completions this worker published because whoever wrote them did not get them acknowledged.",
    (WORKER,),
)
WEBHOOK_ATTEMPTS = Counter(
    "milepost_webhook_attempts_total",
    "Attempts to deliver a webhook, by outcome: delivered, again (it will be tried again), failed (for good).",
    (WORKER,),
    ("outcome",),
)
WEBHOOK_SECONDS = Histogram(
    "milepost_webhook_attempt_duration_seconds", "How long receivers took to answer.", (WORKER,), buckets=ANSWERS_S
)

# -- notifier

EVENT_LAG = Histogram(
    "milepost_event_lag_seconds",
    "From an event's time, by the clock of whoever made it, to its being in Redis. Clocks that differ show here.",
    (NOTIFIER,),
    buckets=NEWS_S,
    exemplars=True,
)
FRESHNESS = Histogram(
    "milepost_progress_freshness_seconds",
    "From an event's time, which is when it was told to Kafka (a task's progress at most five times a second), to the"
    " frames with it having been written to all who watch it here and keep up. Sampled: one event a second of each"
    " ingest.",
    (NOTIFIER,),
    buckets=NEWS_S,
)
EVENTS = Counter("milepost_events_ingested_total", "Events put into Redis, stale ones included.", (NOTIFIER,))
CONNECTIONS = Gauge(
    "milepost_relay_connections", "Clients connected, by transport: websocket, sse.", (NOTIFIER,), ("transport",)
)
SUBSCRIPTIONS = Gauge(
    "milepost_relay_subscriptions",
    "What they watch, by kind: task (alone or with its tree), feed.",
    (NOTIFIER,),
    ("kind",),
)
LAGGING = Gauge(
    "milepost_relay_lagging", "Clients that are told less at the moment, because they are slow.", (NOTIFIER,)
)
CLOSED = Counter(
    "milepost_relay_closed_total",
    "Connections this notifier closed, by reason: as in the table of close codes, with underscores.",
    (NOTIFIER,),
    ("reason",),
)
REFUSED = Counter(
    "milepost_relay_refused_total", "Clients not let in, by status of the answer.", (NOTIFIER,), ("status",)
)
FRAMES = Counter(
    "milepost_frames_total",
    "Frames written to clients, by kind: event, snapshot, other (ends, changes of feeds, pings and the like).",
    (NOTIFIER,),
    ("kind",),
)
FRAME_BYTES = Counter("milepost_frame_bytes_total", "Bytes of frames written to clients.", (NOTIFIER,), unit="bytes")
COALESCED = Counter(
    "milepost_frames_coalesced_total", "Progress that later progress replaced before it was written.", (NOTIFIER,)
)
DROPPED = Counter(
    "milepost_frames_dropped_total",
    "Events left out for slow clients; a snapshot makes up for them.",
    (NOTIFIER,),
)
DEGRADED = Counter("milepost_clients_degraded_total", "Times a client was told less because it is slow.", (NOTIFIER,))
RESETS = Counter(
    "milepost_resets_total",
    "Snapshots and feeds that told a client it missed something.",
    (NOTIFIER,),
)
