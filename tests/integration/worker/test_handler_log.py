"""What handlers say, by whatever means, is in their worker's log, and harms nobody."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from milepost.client import Client, Run
from milepost.errors import TaskFailed
from milepost.tasks.loglines import BURST_LINES, CHARS, LINES_A_SECOND
from tests.conftest import eventually
from tests.system import System

pytestmark = pytest.mark.stack

Records = list[dict[str, Any]]
LEFT_OUT = "the handler logged more than is kept; lines were left out"


def records_of(system: System, run: Run) -> Records:
    """Return what the log says of a task. Fails on what begins like a record but is none."""
    lines = system.workers[0].log_path.read_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    return [record for record in records if record.get("task") == str(run.id)]


async def logged(system: System, run: Run, check: Callable[[Records], bool], what: str) -> Records:
    """Wait until `check` holds of a task's records, and return them."""

    async def holds() -> bool:
        return check(records_of(system, run))

    await eventually(holds, f"{what}:\n{system.workers[0].log_tail(30)}")
    return records_of(system, run)


def one(records: Records, message: str) -> dict[str, Any]:
    """Return the record with this message."""
    (found,) = [record for record in records if record["message"] == message]
    return found


def says(message: str) -> Callable[[Records], bool]:
    """Return whether a message is among records."""
    return lambda records: any(record["message"] == message for record in records)


@pytest.mark.parametrize("type_", ["run.say", "run.say_thread", "run.say_process"])
async def test_what_a_handler_says_is_in_the_log_with_its_task(client: Client, system: System, type_: str) -> None:
    run = await client.submit(type_, {})
    assert await run.result(timeout=20) == "said"
    task = await run.refresh()

    def all_there(records: Records) -> bool:
        text = json.dumps(records)
        return all(word in text for word in ("by logging an exception", "by structlog", "by print to stderr"))

    records = await logged(system, run, all_there, "all of it to be logged")
    said = one(records, "by ctx.log")
    assert (said["attempt"], said["epoch"], said["trace_id"]) == (1, task.epoch, task.trace_id)
    assert (said["level"], said["type"]) == ("warning", type_)
    fields = {"rows": 3, "share": 0.5, "ok": True, "none": None, "path": "/x", "task": "forged"}
    assert said["fields"] == fields
    odd = one(records, "two lines \ufffd[2J and \ufffd")
    assert odd["level"] == "info"
    assert odd["fields"] == {"text": "two\nlines \ufffd[2J and \ufffd"}
    assert {"by print", "by print to stderr"} <= {record.get("line") for record in records}
    for message, level, rows in (("by logging", "info", 4), ("by structlog", "warning", 5)):
        record = one(records, message)
        assert record["level"] == level
        # In a process it came the way of ctx.log, whose fields stay apart.
        assert (record | record.get("fields", {}))["rows"] == rows
        assert record["trace_id"] == task.trace_id
    failed = one(records, "by logging an exception")
    assert failed["level"] == "error"
    assert "ValueError: told with its line" in (failed | failed.get("fields", {}))["exception"]
    assert "unheard" not in json.dumps(records)


@pytest.mark.parametrize("type_", ["run.harm", "run.harm_thread", "run.harm_process"])
async def test_a_flood_of_odd_and_huge_lines_is_cut_and_counted_and_harms_no_task(
    client: Client, system: System, type_: str
) -> None:
    run = await client.submit(type_, {"amount": 20_000})
    assert await run.result(timeout=60) == "unharmed"
    records = await logged(system, run, says(LEFT_OUT), "the log to say what it left out")
    told = one(records, LEFT_OUT)
    flood = [record for record in records if record["message"] == "flood"]
    assert len(flood) + 2 + told["fields"]["lines"] == 20_000 + 2
    seconds = 60
    assert BURST_LINES - 2 <= len(flood) <= BURST_LINES + LINES_A_SECOND * seconds
    (odd,) = [record for record in records if record["message"] == "(Unprintable without a text)"]
    assert odd["fields"]["value"] == "(Unprintable without a text)"
    assert odd["fields"]["nan"] == "nan"
    (huge,) = [record for record in records if record["message"].startswith("long ")]
    assert len(json.dumps(huge, ensure_ascii=False)) < CHARS + 2000
    assert huge["fields"]["…"] > 400


async def test_lines_left_out_are_counted_also_of_a_process_that_is_killed(client: Client, system: System) -> None:
    run = await client.submit("run.flood_and_die", {"amount": 5_000})
    with pytest.raises(TaskFailed):
        await run.result(timeout=30)
    records = await logged(system, run, says(LEFT_OUT), "the log to say what it left out")
    flood = [record for record in records if record["message"] == "flood"]
    assert len(flood) + one(records, LEFT_OUT)["fields"]["lines"] == 5_000


async def test_lines_from_threads_signal_handlers_and_forked_processes_keep_the_connection_whole(
    client: Client, system: System
) -> None:
    run = await client.submit("run.log_from_everywhere", {})
    assert await run.result(timeout=60) == "said"

    def from_the_fork(records: Records) -> bool:
        printed = {record.get("line", "") for record in records}
        return "emitted by a forked process" in printed and any("in a forked process" in line for line in printed)

    await logged(system, run, from_the_fork, "the forked process to be heard")
