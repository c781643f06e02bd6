"""`milepost submit`, `watch`, `get`, `list`, `cancel` and `doctor` against a running system."""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import pytest

from tests.receiver import receiving, saying
from tests.system import System

pytestmark = pytest.mark.stack


async def milepost(
    system: System, *argv: str, stdin: str = "", env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a command as a user would; return its exit status and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "milepost.cli", *argv),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=system._env | {"MILEPOST_NOTIFIER_HTTP_PORT": system.notifier_urls[0].rpartition(":")[2]} | dict(env or {}),
    )
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_submit_writes_an_id_that_get_and_list_know(system: System) -> None:
    status, out, _ = await milepost(system, "submit", "demo.echo", "--payload", '{"a": 1}', "--label", "from=cli")
    assert status == 0
    assert (await milepost(system, "watch", out.strip()))[0] == 0
    shown = json.loads((await milepost(system, "get", out.strip(), "--json"))[1])
    assert (shown["state"], shown["result"], shown["labels"]) == ("succeeded", {"a": 1}, {"from": "cli"})
    listed = (await milepost(system, "list", "--label", "from=cli", "--json"))[1].splitlines()
    assert [json.loads(line)["id"] for line in listed] == [out.strip()]
    assert out.strip() in (await milepost(system, "list", "--label", "from=cli"))[1]


async def test_wait_writes_the_result_alone(system: System) -> None:
    status, out, _ = await milepost(system, "submit", "demo.echo", "--payload", "-", "--wait", stdin='{"b": 2}')
    assert (status, json.loads(out)) == (0, {"b": 2})


async def test_a_failed_task_ends_with_1_and_says_why(system: System) -> None:
    status, out, err = await milepost(system, "submit", "test.permanent", "--payload", '{"words": "never"}', "--wait")
    assert (status, out) == (1, "")
    assert "never" in err
    id_ = err.split()[1]
    assert f"milepost dead-letters show {id_}" in err
    status, _, err = await milepost(system, "watch", id_)
    assert status == 1
    assert f"milepost retry {id_}" in err


async def test_of_several_to_watch_the_one_that_does_not_exist_is_named(system: System) -> None:
    _, out, _ = await milepost(system, "submit", "demo.echo", "--payload", "{}")
    nobody = "01941f29-7c00-7d3e-8a5b-0242ac120002"
    status, _, err = await milepost(system, "watch", out.strip(), nobody)
    assert status == 2
    assert err.startswith(f"milepost: Task {nobody}: ")


async def test_watching_is_json_a_line_and_ends_with_the_end(system: System) -> None:
    argv = ("submit", "demo.count", "--payload", '{"to": 3, "delay": 0.05}', "--watch", "--json")
    status, out, _ = await milepost(system, *argv)
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [rows[0]["kind"], rows[-1]["kind"]] == ["snapshot", "succeeded"]
    assert rows[-1]["task"]["result"] == {"count": 3}


async def test_a_wrong_payload_ends_with_2(system: System) -> None:
    status, _, err = await milepost(system, "submit", "demo.count", "--payload", '{"to": "many"}')
    assert status == 2
    assert "/payload/to" in err


async def test_ctrl_c_leaves_the_task_running_and_says_how_to_come_back(system: System, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    _, out, _ = await milepost(system, "submit", "test.gate", "--payload", json.dumps({"path": str(gate)}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "milepost.cli", "watch", out.strip()),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=system._env,
    )
    assert process.stdout is not None
    assert b"test.gate" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert f"milepost watch {out.strip()}" in err.decode()
    gate.touch()
    assert (await milepost(system, "watch", out.strip()))[0] == 0


async def test_who_watches_a_task_that_nobody_can_run_is_told_why(system: System) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "milepost.cli", "submit", "demo.echo", "--queue", "nobody", "--watch"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=system._env,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    word, id_ = (await process.stderr.readline()).decode().split()
    assert word == "Task"
    assert b"queued" in await process.stdout.readline()
    async with asyncio.timeout(60):
        assert b"No live worker serves queue nobody" in await process.stdout.readline()
    assert (await milepost(system, "cancel", id_))[0] == 0
    out, _ = await process.communicate()
    assert process.returncode == 1
    assert b"cancelled" in out


async def test_cancel_ends_a_task(system: System, tmp_path: Path) -> None:
    payload = json.dumps({"path": str(tmp_path / "never")})
    _, out, _ = await milepost(system, "submit", "test.gate", "--payload", payload)
    assert (await milepost(system, "cancel", out.strip()))[0] == 0
    status, shown, _ = await milepost(system, "watch", out.strip())
    assert status == 1
    assert "cancelled" in shown


async def test_dead_letters_are_listed_shown_and_replayed(system: System) -> None:
    argv = ("submit", "test.permanent", "--payload", '{"words": "from the cli"}', "--wait", "--json")
    task = json.loads((await milepost(system, *argv))[1])
    fingerprint, id_ = task["error"]["fingerprint"], task["id"]
    status, out, _ = await milepost(system, "dead-letters", "list", "--json")
    groups = {group["fingerprint"]: group for group in map(json.loads, out.splitlines())}
    assert (status, groups[fingerprint]["type"]) == (0, "test.permanent")
    assert fingerprint in (await milepost(system, "dead-letters", "list"))[1]
    assert id_ in (await milepost(system, "dead-letters", "list", "--fingerprint", fingerprint))[1]
    status, shown, _ = await milepost(system, "dead-letters", "show", id_)
    assert status == 0
    assert "from the cli" in shown
    assert "attempt   1 failed" in shown
    which = ("dead-letters", "replay", "--fingerprint", fingerprint)
    status, out, _ = await milepost(system, *which, "--dry-run")
    assert (status, "would be replayed" in out) == (0, True)
    status, out, _ = await milepost(system, *which, "--rate", "50", "--json")
    assert status == 0
    assert id_ in json.loads(out)["ids"]
    assert (await milepost(system, "watch", id_))[0] == 1
    assert "queued" in (await milepost(system, "retry", id_))[1]
    assert (await milepost(system, "watch", id_))[0] == 1
    status, out, err = await milepost(system, "dead-letters", "replay", "01941f29-7c00-7d3e-8a5b-0242ac120002")
    assert (status, out) == (1, "0 replayed.\n")
    assert "no dead letters" in err
    assert (await milepost(system, "dead-letters", "replay"))[0] == 2
    assert (await milepost(system, "dead-letters", "show", "01941f29-7c00-7d3e-8a5b-0242ac120002"))[0] == 2


async def test_what_succeeded_cannot_be_retried_and_that_ends_with_2(system: System) -> None:
    _, out, _ = await milepost(system, "submit", "demo.echo", "--payload", '{"a": 1}', "--wait", "--json")
    status, _, err = await milepost(system, "retry", json.loads(out)["id"])
    assert status == 2
    assert "has succeeded" in err


async def test_doctor_finds_everything_well(system: System) -> None:
    status, out, _ = await milepost(system, "doctor", "--json")
    report = json.loads(out)
    assert [row for row in report["checks"] if not row["ok"]] == []
    assert status == 0


async def test_migrate_can_be_repeated(system: System) -> None:
    status, out, _ = await milepost(system, "migrate", "--queues", "extra", "--json")
    assert status == 0
    made = json.loads(out)
    assert made["migrations"] == []
    assert {name.rpartition(".work.")[2] for name in made["topics"]} == {"extra", "extra.high", "extra.low"}


async def test_a_key_is_made_used_listed_and_revoked(system: System) -> None:
    status, out, err = await milepost(system, "keys", "create", "the shop", "--tenant", "shop", "--expires-in", "1d")
    key = out.strip()
    assert (status, key.startswith("mp_")) == (0, True)
    assert key not in err
    theirs = {"MILEPOST_API_KEY": key}
    assert (await milepost(system, "list", "--json", env=theirs))[:2] == (0, "")
    status, _, err = await milepost(system, "keys", "list", env=theirs)
    assert (status, "the scope admin" in err) == (2, True)
    [listed] = map(json.loads, (await milepost(system, "keys", "list", "--tenant", "shop", "--json"))[1].splitlines())
    assert (listed["name"], listed["scopes"]) == ("the shop", ["submit", "read"])
    rows = (await milepost(system, "keys", "list", "--tenant", "shop"))[1]
    assert listed["id"] in rows
    assert key.rpartition("_")[2] not in rows
    assert (await milepost(system, "keys", "revoke", "mp_nobodys1"))[0] == 2
    status, out, _ = await milepost(system, "keys", "revoke", listed["prefix"], "--tenant", "shop")
    assert (status, "is revoked" in out) == (0, True)
    status, _, err = await milepost(system, "list", env=theirs)
    assert (status, "revoked" in err) == (2, True)
    set_ = await milepost(system, "tenants", "set", "shop", "--requests", "600", "--queued", "5", "--json")
    assert json.loads(set_[1])["quotas"] == {"requests": 600, "requests_per": 60.0, "queued": 5, "queued_bytes": None}
    assert "600 in 60 s" in (await milepost(system, "tenants", "list"))[1]
    shops = json.loads((await milepost(system, "keys", "create", "s", "--tenant", "shop", "--json"))[1])["key"]
    status, out, _ = await milepost(system, "quotas", env={"MILEPOST_API_KEY": shops})
    assert (status, "600 in 60 s" in out, "5" in out) == (0, True, True)
    status, out, _ = await milepost(system, "quotas", "--json")
    assert (status, json.loads(out)["used"]) == (0, {"requests": None, "queued": None, "queued_bytes": None})
    again = await milepost(system, "keys", "create", "x", "--scope", "admin", "--scope", "read", "--json")
    made = json.loads(again[1])
    assert made["scopes"] == ["read", "admin"]
    assert (await milepost(system, "keys", "revoke", made["id"], "--json"))[0] == 0


async def test_webhooks_are_made_tried_and_looked_after(system: System) -> None:
    async with receiving("127.0.0.1") as receiver:
        url = f"http://127.0.0.1:{receiver.port}/hook"
        status, out, _ = await milepost(system, "webhooks", "create", url, "--type", "demo.echo", "--json")
        made = json.loads(out)
        assert (status, made["types"], made["secret"][:6]) == (0, ["demo.echo"], "whsec_")
        id_ = made["id"]
        status, out, _ = await milepost(system, "webhooks", "list")
        assert (status, id_ in out, made["secret"] in out) == (0, True, False)
        status, out, _ = await milepost(system, "webhooks", "ping", id_)
        assert status == 0, out
        assert "delivered" in out
        await milepost(system, "submit", "demo.echo", "--wait")
        await receiver.got(2)
        receiver.answer = saying(503)
        assert (await milepost(system, "webhooks", "ping", id_))[0] == 1
        status, out, _ = await milepost(system, "doctor")
        assert (status, f"1 of 1 fail or were disabled: {id_} of default" in out) == (0, True), out
        status, out, _ = await milepost(system, "webhooks", "deliveries", id_, "--json")
        log = [json.loads(line) for line in out.splitlines()]
        assert [one["outcome"] for one in log] == [None, "succeeded", None]
        assert log[0]["error"] == "The receiver answered 503."
        assert "503" in (await milepost(system, "webhooks", "delivery", id_, log[0]["id"]))[1]
        receiver.answer = saying(204)
        status, out, _ = await milepost(system, "webhooks", "replay", id_, log[1]["id"])
        assert (status, out) == (0, "1 are made once more.\n")
        assert (await milepost(system, "webhooks", "replay", id_))[0] == 2
        await receiver.got(4)
        status, out, _ = await milepost(system, "webhooks", "set", id_, "--all", "types", "--disable", "--json")
        changed = json.loads(out)
        assert (status, changed["types"], changed["enabled"]) == (0, None, False)
        assert "disabled" in (await milepost(system, "webhooks", "show", id_))[1]
        # More than one request makes once more; nothing is sent, it is disabled.
        db = await asyncpg.connect(system._env["MILEPOST_DATABASE_URL"])
        await db.execute(
            "insert into milepost.deliveries (webhook_id, tenant, task_id, state)"
            " select $1, 'default', gen_random_uuid(), 'failed' from generate_series(1, 1001)",
            id_,
        )
        await db.close()
        status, out, _ = await milepost(system, "webhooks", "replay", id_, "--state", "failed")
        assert (status, out) == (0, "1,001 are made once more.\n")
        status, out, _ = await milepost(system, "webhooks", "rotate-secret", id_, "--overlap", "0", "--json")
        assert json.loads(out)["secret"] != made["secret"]
        assert (await milepost(system, "webhooks", "delete", id_))[0] == 0
        assert (await milepost(system, "webhooks", "show", id_))[0] == 2
        assert (await milepost(system, "webhooks", "create", "https://10.0.0.1/"))[0] == 2


async def test_lists_are_of_a_tree_and_of_types_and_workers_too(system: System) -> None:
    root = (await milepost(system, "submit", "demo.echo", "--payload", "{}", "--json"))[1]
    id_ = json.loads(root)["id"]
    status, out, _ = await milepost(system, "submit", "demo.echo", "--payload", "{}", "--parent", id_)
    child = out.strip()
    assert status == 0
    for argv, expected in ((("--root", id_), [child, id_]), (("--parent", id_), [child]), (("--parent", child), [])):
        listed = (await milepost(system, "list", *argv, "--json"))[1].splitlines()
        assert [json.loads(line)["id"] for line in listed] == expected
    long_ago = await milepost(system, "list", "--root", id_, "--created-before", "2020-01-01", "--json")
    assert long_ago == (0, "", "")
    types = [json.loads(line) for line in (await milepost(system, "types", "--json"))[1].splitlines()]
    assert "demo.echo" in {info["type"] for info in types}
    assert "demo.echo" in (await milepost(system, "types"))[1]
    (worker,) = [json.loads(line) for line in (await milepost(system, "workers", "--json"))[1].splitlines()]
    assert worker["name"] in (await milepost(system, "workers"))[1]


async def test_a_tasks_result_and_attempts_can_be_read_alone(system: System) -> None:
    status, out, _ = await milepost(system, "submit", "demo.fail", "--payload", '{"times": 1, "message": "once"}')
    id_ = out.strip()
    assert status == 0
    status, out, err = await milepost(system, "result", id_, "--wait")
    assert (status, err) == (0, "")
    json.loads(out)
    assert json.loads((await milepost(system, "result", id_, "--json"))[1]) == json.loads(out)
    rows = [json.loads(line) for line in (await milepost(system, "attempts", id_, "--json"))[1].splitlines()]
    assert [row["outcome"] for row in rows] == ["succeeded", "failed"]
    assert "once" in (await milepost(system, "attempts", id_))[1]
    scheduled = (await milepost(system, "submit", "demo.echo", "--payload", "{}", "--delay", "600"))[1].strip()
    status, out, err = await milepost(system, "result", scheduled)
    assert (status, out) == (2, "")
    assert "--wait" in err
    assert "not run yet" in (await milepost(system, "attempts", scheduled))[1]
    await milepost(system, "cancel", scheduled)
    assert (await milepost(system, "result", scheduled))[0] == 1


async def test_a_token_for_a_page_is_made(system: System) -> None:
    id_ = (await milepost(system, "submit", "demo.echo", "--payload", "{}"))[1].strip()
    for argv in ((id_,), ("--label", "a=b"), ("--feed",)):
        status, out, _ = await milepost(system, "watch-token", *argv, "--ttl", "60")
        assert (status, out.count(".")) == (0, 2)
    assert json.loads((await milepost(system, "watch-token", id_, "--json"))[1])["token"]
    assert (await milepost(system, "watch-token"))[0] == 2
    assert (await milepost(system, "watch-token", id_, "--feed"))[0] == 2


async def test_types_queues_and_ids_are_completed_from_the_api(system: System) -> None:
    id_ = (await milepost(system, "submit", "demo.echo", "--payload", "{}"))[1].strip()

    async def completed(*words: str) -> set[str]:
        env = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "_MILEPOST_COMPLETE": "bash_complete"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "milepost.cli", stdout=asyncio.subprocess.PIPE, env=system._env | env
        )
        out, _ = await process.communicate()
        return {line.partition(",")[2] for line in out.decode().splitlines()}

    assert "demo.echo" in await completed("milepost", "submit", "demo.e")
    assert await completed("milepost", "submit", "demo.echo", "--queue", "defau") == {"default"}
    assert id_ in await completed("milepost", "watch", id_[:10])
    assert id_ in await completed("milepost", "list", "--root", id_[:8])
