"""Write openapi.json, or check that it is current: `python -m milepost_api.publish [--check] FOLDER`."""

import json
import sys
from pathlib import Path

from pydantic import SecretStr

from milepost.runtime.settings import Settings
from milepost_api.app import create_app

NAME = "openapi.json"


def document() -> str:
    """Return the description of an API as installed, whatever this machine's settings are. Connects to nothing."""
    settings = Settings.model_construct(api_key=SecretStr("-"), allowed_origins=[], pages=[], log_level="error")
    return json.dumps(create_app(settings).openapi(), indent=2, sort_keys=True) + "\n"


def main() -> None:
    """Write it into the folder named, or with --check say that it differs and exit with 1."""
    folder = Path(next((word for word in sys.argv[1:] if word != "--check"), "schemas/published"))
    file, text = folder / NAME, document()
    if "--check" not in sys.argv:
        file.write_text(text)
    elif not file.exists() or file.read_text() != text:
        sys.exit(f"{file} is not what the routes say. Run `make schemas`.")


if __name__ == "__main__":
    main()
