"""Names and settings of the topics."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, TopicAlreadyExistsError, for_code

from milepost.errors import Unavailable
from milepost.log.connection import connection
from milepost.log.ending import end
from milepost.runtime.settings import Settings
from milepost_schemas.queues import folded
from milepost_schemas.task import Priority

_LANES = {Priority.HIGH: ".high", Priority.NORMAL: "", Priority.LOW: ".low"}


@dataclass(frozen=True, slots=True)
class Topics:
    """Topic names under a prefix."""

    prefix: str = "milepost"

    def work(self, queue: str, priority: Priority = Priority.NORMAL) -> str:
        """Dispatch hints of a queue in a lane."""
        return f"{self.prefix}.work.{queue}{_LANES[priority]}"

    def lanes(self, queue: str) -> tuple[str, ...]:
        """Work topics of a queue, high lane first."""
        return tuple(self.work(queue, priority) for priority in _LANES)

    @property
    def events(self) -> str:
        """Every lifecycle and progress event."""
        return f"{self.prefix}.events"

    @property
    def completions(self) -> str:
        """One record for each terminal state, for other services."""
        return f"{self.prefix}.completions"

    @property
    def dead_letters(self) -> str:
        """Records that cannot be processed."""
        return f"{self.prefix}.dead-letters"

    @property
    def control(self) -> str:
        """Cancel requests."""
        return f"{self.prefix}.control"


ANSWER_S = 30.0
"""Looking and making is given up after it."""
_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
COMPLETIONS_KEPT_MS: Final = 7 * _DAY
"""Part of the contract: docs/completions.md."""


def _shape(settings: Settings, name: str, partitions: int, kept_ms: int) -> NewTopic:
    replication = settings.kafka_replication
    return NewTopic(
        name,
        partitions,
        replication,
        topic_configs={
            "retention.ms": str(kept_ms),
            "segment.ms": str(max(_MINUTE, kept_ms // 4)),
            "min.insync.replicas": str(max(1, replication - 1)),
        },
    )


async def ensure_topics(settings: Settings, queues: Iterable[str] = ()) -> list[str]:
    """Make what is missing of the fixed topics and of the work topics of `queues`; return the names made.

    Topics that exist are left as they are. Raises Unavailable when no broker answers.
    """
    topics = Topics(settings.topic_prefix)
    n = settings.kafka_partitions
    wanted = [
        _shape(settings, topics.events, n, _HOUR),
        _shape(settings, topics.completions, n, COMPLETIONS_KEPT_MS),
        _shape(settings, topics.dead_letters, 1, 30 * _DAY),
        _shape(settings, topics.control, 1, 10 * _MINUTE),
        *(_shape(settings, name, n, _DAY) for queue in sorted(set(queues)) for name in topics.lanes(queue)),
    ]
    admin: Any = AIOKafkaAdminClient(**connection(settings))
    try:
        async with asyncio.timeout(ANSWER_S):
            await admin.start()
            existing = set(await admin.list_topics())
            missing = [topic for topic in wanted if topic.name not in existing]
            _refuse_collisions(missing, existing)
            response = await admin.create_topics(missing) if missing else None
        if response is not None:
            for name, code, *_ in response.topic_errors:
                # Two processes may make the same topic at once: both are right.
                if code not in {0, TopicAlreadyExistsError.errno}:
                    raise Unavailable(f"Kafka did not make topic {name}: {for_code(code).__name__}. Nothing was lost.")
        return [topic.name for topic in missing]
    except (KafkaError, OSError, IncompatibleBrokerVersion) as error:
        raise Unavailable(f"Kafka at {settings.kafka_bootstrap} does not answer: {error!r}. Is it running?") from error
    finally:
        await end(admin)


def _refuse_collisions(missing: Iterable[NewTopic], existing: Iterable[str]) -> None:
    """Raise Unavailable for a topic that Kafka would refuse beside one there is, with words it does not find."""
    there = {folded(name): name for name in existing}
    for topic in missing:
        if other := there.get(folded(topic.name)):
            raise Unavailable(
                f"Topic {topic.name} cannot be made beside {other}: Kafka takes '.' and '_' for the same. Rename one "
                "of the two queues; until then this one is served from Postgres alone, about a second slower."
            )
