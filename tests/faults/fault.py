"""A fault under load: what may happen to a server, and the course of a test that it has to survive."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

import pytest

from milepost.audit import Facts
from milepost.embedded import Stack
from milepost.embedded.server import Server
from tests.proxy import Proxy
from tests.scene import Scene
from tests.traffic import Mix

Fault = Callable[[Scene], Awaitable[None]]


def by_fault(short: Iterable[tuple[str, Fault]] = (), long: Iterable[tuple[str, Fault]] = ()) -> pytest.MarkDecorator:
    """Run a test once for each `fault`, by name; the `long` ones only in `make faults`."""
    params = [pytest.param(fault, id=name) for name, fault in short]
    params += [pytest.param(fault, id=name, marks=pytest.mark.long) for name, fault in long]
    return pytest.mark.parametrize("fault", params)


async def survived(scene: Scene, fault: Fault, rate: float, mix: Mix, accepted: int) -> Facts:
    """Let a fault happen under a load of `rate` tasks a second; fail unless all are seen to their ends.

    Before and after it so many tasks are `accepted`.
    """
    scene.load(rate, mix)
    await scene.accepts(accepted)
    await fault(scene)
    await scene.accepts(accepted)
    return await scene.passes()


def killed(server: Callable[[Stack], Server]) -> Fault:
    """SIGKILL, and started again at once."""

    async def fault(scene: Scene) -> None:
        server(scene.stack).kill()
        await server(scene.stack).start()

    return fault


def stopped(server: Callable[[Stack], Server], meanwhile: int = 0) -> Fault:
    """Ended as it should be, and started again when so many more tasks were accepted."""

    async def fault(scene: Scene) -> None:
        await server(scene.stack).stop()
        if meanwhile:
            await scene.accepts(meanwhile)
        await server(scene.stack).start()

    return fault


def cut(lines: Callable[[Scene], Sequence[Proxy]]) -> Fault:
    """Every connection reset, five times, whatever was in the middle of it."""

    async def fault(scene: Scene) -> None:
        for _ in range(5):
            for line in lines(scene):
                line.cut()
            await scene.accepts(10)

    return fault
