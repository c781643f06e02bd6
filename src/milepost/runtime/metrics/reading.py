"""What every service reads of its parts when metrics are shown."""

from collections.abc import Callable, Mapping
from typing import Protocol

from milepost.runtime.metrics import catalogue
from milepost.runtime.standing import Standing


class Connections(Protocol):
    """A pool of connections to Postgres."""

    waiting: int

    def get_size(self) -> int:
        """Return how many there are."""

    def get_idle_size(self) -> int:
        """Return how many of them do nothing."""

    def get_max_size(self) -> int:
        """Return how many there may be."""


class Unsent(Protocol):
    """A producer of Kafka."""

    @property
    def unacknowledged(self) -> int:
        """Records it was given and Kafka has not acknowledged."""


class Behind(Protocol):
    """A consumer of Kafka."""

    @property
    def lags(self) -> Mapping[str, int]:
        """Records behind, by topic."""


def pool(of: Connections) -> Callable[[], None]:
    """Return a reading of a pool."""

    def read() -> None:
        idle = of.get_idle_size()
        catalogue.POOL_CONNECTIONS.set(idle, "idle")
        catalogue.POOL_CONNECTIONS.set(of.get_size() - idle, "busy")
        catalogue.POOL_SIZE.set(of.get_max_size())
        catalogue.POOL_WAITING.set(of.waiting)

    return read


def writer(of: Unsent) -> Callable[[], None]:
    """Return a reading of a producer."""
    return lambda: catalogue.KAFKA_UNSENT.set(of.unacknowledged)


def readers(*of: Behind) -> Callable[[], None]:
    """Return a reading of consumers of different topics."""
    return lambda: catalogue.CONSUMER_LAG.replace(
        {(topic,): float(lag) for each in of for topic, lag in each.lags.items()}
    )


def dependencies(known: Callable[[], Mapping[str, Standing]]) -> Callable[[], None]:
    """Return a reading of how dependencies were when last looked at."""
    return lambda: catalogue.DEPENDENCY_UP.replace({(name,): float(s.ok) for name, s in known().items()})
