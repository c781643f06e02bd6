"""What `milepost dev` decides before it starts anything."""

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from milepost.cli.dev.plan import DRAIN_S, PAGES, Plan, choose_tasks, make_plan, write_environment
from milepost.cli.dev.reload import changed, places_of, stamps_of
from milepost.cli.dev.serving import command_here
from milepost.client.address import running_environment
from milepost.embedded.ports import allocate
from milepost.errors import SettingsError
from milepost.runtime.settings import Settings

SERVERS = {"MILEPOST_DATABASE_URL": "postgresql://milepost:p%27x@127.0.0.1:1/milepost"}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MILEPOST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def plan(notifiers: int = 1, port_base: int | None = None) -> Plan:
    base = port_base or allocate(["test"], {}, Path("test-ports.json"))["test"]
    return make_plan(Settings.load(), tasks=None, workers=1, notifiers=notifiers, port_base=base)


def test_the_key_is_private_and_kept_between_starts() -> None:
    first, second = plan(), plan()
    file = Path(".milepost/key")
    assert first.key == second.key == file.read_text().strip()
    assert first.key.startswith("mp_dev_")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_that_is_set_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    plan()
    monkeypatch.setenv("MILEPOST_API_KEY", "mine")
    assert plan().key == "mine"
    assert Path(".milepost/key").read_text() == "mine\n"


def test_port_base_places_the_three_that_people_know() -> None:
    base = allocate(["test"], {}, Path("test-ports.json"))["test"]
    chosen = plan(notifiers=2, port_base=base)
    assert (chosen.url, chosen.stream_url) == (f"http://127.0.0.1:{base}", f"ws://127.0.0.1:{base + 1}/v1/stream")
    assert chosen.notifiers[0].http == base + 2
    assert len({base, *(port for pair in chosen.notifiers for port in (pair.stream, pair.http))}) == 5


def test_a_port_in_use_names_the_port_and_the_flag() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"Port {port}, for api, is in use.*--port-base"):
            plan(port_base=port)


def test_what_a_shell_sources_is_what_the_client_reads() -> None:
    chosen = plan()
    variables = chosen.environment(SERVERS) | {"MILEPOST_ODD": "a b'c\"$d"}
    home = Path(".milepost")
    write_environment(home, variables)
    file = home / "run" / "env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert running_environment(home) == variables
    script = f". {shlex.quote(str(file.absolute()))} && printf '%s' \"$MILEPOST_ODD\""
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == "a b'c\"$d"


def test_the_page_to_try_things_with_is_served_where_it_stands_in_the_folder() -> None:
    assert plan().page_url is None
    for place in PAGES:
        Path(place).mkdir(parents=True)
    chosen = plan()
    assert chosen.page_url == f"{chosen.url}/try/#key={chosen.key}"
    environment = chosen.service_environment(SERVERS, given={})
    assert environment["MILEPOST_PAGES"].split(",") == [str(Path(place).absolute()) for place in PAGES]
    assert chosen.url in environment["MILEPOST_ALLOWED_ORIGINS"].split(",")


def test_who_lets_pages_of_their_own_in_keeps_the_page_to_try_things_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_ALLOWED_ORIGINS", "http://localhost:5173")
    chosen = plan()
    environment = chosen.service_environment(SERVERS, os.environ)
    assert environment["MILEPOST_ALLOWED_ORIGINS"].split(",") == [
        chosen.url, f"http://localhost:{chosen.api_port}", "http://localhost:5173",
    ]  # fmt: skip


def test_services_speak_to_our_servers_whatever_the_environment_says() -> None:
    given = {"MILEPOST_DATABASE_URL": "elsewhere", "MILEPOST_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "PATH": "/bin"}
    environment = plan().service_environment(SERVERS, given)
    assert environment["MILEPOST_DATABASE_URL"] == SERVERS["MILEPOST_DATABASE_URL"]
    assert environment["MILEPOST_KAFKA_SECURITY_PROTOCOL"] == "PLAINTEXT"
    assert environment["PATH"] == "/bin"
    assert environment["MILEPOST_DRAIN"] == f"{DRAIN_S:g}"


def test_the_example_is_loaded_where_it_stands(tmp_path: Path) -> None:
    assert choose_tasks(tmp_path, ["mine", "milepost.demo"]) == ("milepost.demo", "mine")
    package = tmp_path / "examples" / "repository_analysis"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert choose_tasks(tmp_path, []) == ("milepost.demo", "examples.repository_analysis")


def test_only_code_of_this_folder_is_watched_and_nothing_is_imported(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tasks.py").write_text("raise SystemExit('imported')")
    (tmp_path / "single.py").touch()
    places = places_of(["mine.tasks", "single", "mine", "milepost.demo", "missing"], tmp_path)
    assert places == [tmp_path / "mine" / "tasks.py", tmp_path / "single.py", tmp_path / "mine"]


def test_a_change_is_seen_by_time_size_arrival_and_leaving(tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "c.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / "__pycache__").mkdir()
    before = stamps_of([tmp_path])
    (tmp_path / "a.py").write_text("longer than before")
    (tmp_path / "b.py").unlink()
    (tmp_path / "d.py").touch()
    (tmp_path / "__pycache__" / "e.py").touch()
    (tmp_path / "notes.txt").touch()
    assert [Path(file).name for file in changed(before, stamps_of([tmp_path]))] == ["a.py", "b.py", "d.py"]


def test_commands_to_try_are_shown_as_this_shell_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / ".venv" / "bin" / "milepost"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    monkeypatch.setattr("sys.executable", str(script.with_name("python")))
    monkeypatch.setenv("PATH", "/nowhere")
    assert command_here() == ".venv/bin/milepost"
    monkeypatch.setenv("PATH", str(script.parent))
    assert command_here() == "milepost"
