"""Whether the modules with tasks can be loaded: found out before anything is started."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from milepost.cli.exits import Exit
from milepost.errors import SettingsError, TaskDefinitionError


async def try_tasks(modules: Sequence[str], environment: Mapping[str, str]) -> None:
    """Load modules as a worker does, in a process of its own. Raises SettingsError with what is wrong.

    Not in this one: what somebody's code leaves behind would stay here, and workers load it anew when it changes.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, *modules),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
    )
    try:
        said, printed = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != Exit.DONE:
        why = said.decode(errors="replace").strip() or (
            f"Loading tasks from {', '.join(modules)} ended Python with status {process.returncode}. It printed:\n"
            + printed.decode(errors="replace").strip()
        )
        raise SettingsError(f"{why}\nNothing was started.")


def _main(modules: Sequence[str]) -> int:
    """Load modules; write what is wrong to standard output, and nothing else there."""
    from milepost.tasks.registry import load

    answer = os.dup(1)
    os.dup2(2, 1)  # where modules print
    # As a worker finds them: from the folder it is started in.
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        load(modules)
    except TaskDefinitionError as error:
        os.write(answer, str(error).encode())
        return Exit.USAGE
    return Exit.DONE


if __name__ == "__main__":
    done = _main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(done)  # whatever threads a module has started: they would keep this waiting
