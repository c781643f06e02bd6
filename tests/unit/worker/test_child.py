"""What a handler's process tells its worker, and in which order."""

import socket
import threading

from milepost.tasks.loglines import HandlerLog
from milepost_worker.execution.child import _Worker
from milepost_worker.execution.wire import HEAD, Kind, frame


class _Counting(HandlerLog):
    """Stops in the middle of telling how many lines were left out, the first time."""

    __slots__ = ("counted", "go_on")

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.counted, self.go_on = threading.Event(), threading.Event()

    def take_left_out(self) -> int:
        lines = super().take_left_out()
        if not self.counted.is_set():
            self.counted.set()
            assert self.go_on.wait(timeout=30)
        return lines


def test_the_outcome_does_not_overtake_how_many_lines_were_left_out() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker, log = _Worker(ours), _Counting()
        log.leave_out(1_202)

        def end() -> None:
            worker.left_out(log)
            worker.send(frame(Kind.RESULT, b"1"))

        looking = threading.Thread(target=worker.left_out, args=(log,))
        looking.start()
        assert log.counted.wait(timeout=30)
        ending = threading.Thread(target=end)
        ending.start()
        ending.join(timeout=0.2)  # long enough to overtake, if it could
        log.go_on.set()
        looking.join(timeout=30)
        ending.join(timeout=30)
        theirs.settimeout(30)
        assert [_kind(theirs), _kind(theirs)] == [Kind.LEFT_OUT, Kind.RESULT]


def _kind(connection: socket.socket) -> Kind:
    head = connection.recv(HEAD.size, socket.MSG_WAITALL)
    _, kind, size, _ = HEAD.unpack(head)
    connection.recv(size, socket.MSG_WAITALL)
    return Kind(kind)
