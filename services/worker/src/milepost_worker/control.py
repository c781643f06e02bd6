"""Cancel requests by Kafka: milliseconds instead of the next renewal."""

from milepost.log import Reader, Topics
from milepost.runtime.logs import get_logger
from milepost.runtime.settings import Settings
from milepost_schemas import CancelRequest
from milepost_schemas.cloudevents import UndecodableError, decode
from milepost_worker.attempt import StopReason
from milepost_worker.identity import Identity
from milepost_worker.running import Running

log = get_logger("milepost.worker.control")


class Control:
    """Reads the control topic without a group: every worker hears every request."""

    def __init__(self, settings: Settings, identity: Identity, running: Running) -> None:
        self._reader = Reader(
            settings, identity.name, [Topics(settings.topic_prefix).control], group=None, from_end=True
        )
        self._running = running

    async def listen(self) -> None:
        """Stop attempts somebody asked to stop. Raises when the consumer fails; run it again then."""
        async with self._reader.open():
            while True:
                for record in await self._reader.read(500, 1.0):
                    try:
                        request = decode(CancelRequest, record.value, record.headers)
                    except UndecodableError as error:
                        # Nothing is lost by skipping it: a real request is in the task's row as well.
                        log.warning("undecodable record on the control topic", error=str(error), offset=record.offset)
                        continue
                    attempt = self._running.get(request.task)
                    if attempt is not None and attempt.claimed.tenant == request.tenant:
                        attempt.stop(StopReason.CANCELLED)
