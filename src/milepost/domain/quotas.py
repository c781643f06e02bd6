"""What a tenant may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quotas:
    """None: as much as it wants."""

    requests: int | None = None
    """A bucket of so many requests …"""
    requests_per: float = 60.0
    """… which an empty one takes so many seconds to fill."""
    queued: int | None = None
    """Tasks that wait, queued or scheduled."""
    queued_bytes: int | None = None
    """Bytes of their payloads."""

    @property
    def counts_tasks(self) -> bool:
        """Whether what waits has to be counted."""
        return self.queued is not None or self.queued_bytes is not None

    def over(self, defaults: "Quotas") -> "Quotas":
        """Return these, and where they say nothing the defaults."""
        own_rate = self.requests is not None
        return Quotas(
            self.requests if own_rate else defaults.requests,
            self.requests_per if own_rate else defaults.requests_per,
            defaults.queued if self.queued is None else self.queued,
            defaults.queued_bytes if self.queued_bytes is None else self.queued_bytes,
        )


UNBOUNDED = Quotas()
