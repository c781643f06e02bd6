"""The .env of a project for a trial: as deploy/make-env writes it, with ports, a network and images of its own."""

import socket
import subprocess
from pathlib import Path

from tests.compose.engine import ROOT

TAG = "trial"


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def write_settings(folder: Path, network: str, **more: object) -> dict[str, str]:
    """Write `env` into a folder, and beside it a checkout for the demo; return what it says."""
    file = folder / "env"
    subprocess.run((ROOT / "deploy" / "make-env", file), check=True, capture_output=True)
    # Whoever runs in the containers writes it, and the auditor, who is of the same user, reads it.
    diary = folder / "diary"
    diary.mkdir()
    diary.chmod(0o777)
    repository = folder / "repository"
    subprocess.run(("git", "clone", "--quiet", ROOT, repository), check=True)
    port = free_port()
    own = {
        "PROXY_PORT": port,
        "MILEPOST_URL": f"http://127.0.0.1:{port}",
        "MILEPOST_STREAM_URL": f"ws://127.0.0.1:{port}/v1/stream",
        "MILEPOST_EVENTS_URL": f"http://127.0.0.1:{port}",
        "EDGE_NETWORK": network,
        "MILEPOST_TAG": TAG,
        "DEMO_REPOSITORY": repository,
        "TRIAL_DIARY": diary,
        **more,
    }
    with file.open("a") as text:
        text.writelines(f"{name}={value}\n" for name, value in own.items())
    lines = [line for line in file.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def secrets_of(settings: dict[str, str]) -> dict[str, str]:
    """Return the secrets of a project by their names."""
    return {path.name: path.read_text().strip() for path in Path(settings["SECRETS_DIR"]).iterdir()}
