"""deploy/make-env: what it makes, and what it leaves as it is."""

import stat
import subprocess
from pathlib import Path

import yaml
from dotenv import dotenv_values

from tests.system import ROOT

NAMES = {"api_key", "token_secret", "database_url", "postgres_password", "grafana_password"}


def _made(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "deploy" / "make-env", file], capture_output=True, text=True, check=False)


def _secrets(file: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (file.parent / "secrets").iterdir()}


def test_secrets_are_fresh_files_that_containers_can_read_and_others_cannot_reach(tmp_path: Path) -> None:
    file = tmp_path / "env"
    assert _made(file).returncode == 0
    first = _secrets(file)
    assert first.keys() == NAMES
    assert first.keys() == yaml.safe_load((ROOT / "docker-compose.yml").read_text())["secrets"].keys()
    assert len({*first.values()}) == len(NAMES)
    assert first["postgres_password"].strip() in first["database_url"]
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()} == {0o444}
    text = file.read_text()
    assert not any(secret.strip() in text for secret in first.values())
    said = dotenv_values(file)
    assert said["SECRETS_DIR"] == str(tmp_path / "secrets")
    assert said["MILEPOST_API_KEY_FILE"] == str(tmp_path / "secrets" / "api_key")
    other = tmp_path / "other" / "env"
    other.parent.mkdir()
    assert _made(other).returncode == 0
    assert all(_secrets(other)[name] != first[name] for name in NAMES)


def test_what_is_there_is_left_as_it_is_and_what_is_missing_is_made(tmp_path: Path) -> None:
    file = tmp_path / "env"
    _made(file)
    text, secrets = file.read_text(), _secrets(file)
    again = _made(file)
    assert again.returncode == 1
    assert "left as they are" in again.stderr
    (tmp_path / "secrets" / "grafana_password").unlink()
    assert "grafana_password" in _made(file).stdout
    assert file.read_text() == text
    assert {name: value for name, value in _secrets(file).items() if name != "grafana_password"} == {
        name: value for name, value in secrets.items() if name != "grafana_password"
    }


def test_secrets_of_an_env_of_before_become_files(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# mine\nMILEPOST_API_KEY=mp_old\nPOSTGRES_PASSWORD=older\nPROXY_PORT=8080\n")
    assert "Secrets are in" in _made(file).stdout
    secrets = _secrets(file)
    assert secrets["api_key"] == "mp_old\n"
    assert secrets["postgres_password"] == "older\n"
    assert secrets["database_url"] == "postgresql://milepost:older@postgres:5432/milepost\n"
    text = file.read_text()
    assert text.startswith("# mine\nPROXY_PORT=8080\n")
    assert "old" not in text.replace(str(tmp_path), "")
    assert dotenv_values(file)["SECRETS_DIR"] == str(tmp_path / "secrets")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_env_written_by_hand_is_told_where_secrets_are(tmp_path: Path) -> None:
    """Compose asks for this script while SECRETS_DIR is not set, so this has to set it."""
    file = tmp_path / "env"
    file.write_text("PROXY_PORT=8080\n")
    assert _made(file).returncode == 0
    assert dotenv_values(file)["SECRETS_DIR"] == str(tmp_path / "secrets")
    assert file.read_text().startswith("PROXY_PORT=8080\n")
    assert _made(file).returncode == 1
