"""Write the JSON Schemas: `python -m milepost_schemas schemas/published`."""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from milepost_schemas import Completion, Dispatch, Event, Problem, SubmitTask, Task, TypeInfo, WorkerInfo
from milepost_schemas.control import CancelRequest
from milepost_schemas.frames import CLIENT_FRAME, SERVER_FRAME

MODELS: dict[str, TypeAdapter[Any]] = {
    "task": TypeAdapter(Task),
    "submit-task": TypeAdapter(SubmitTask),
    "problem": TypeAdapter(Problem),
    "type": TypeAdapter(TypeInfo),
    "worker": TypeAdapter(WorkerInfo),
    "dispatch": TypeAdapter(Dispatch),
    "event": TypeAdapter(Event),
    "completion": TypeAdapter(Completion),
    "cancel-request": TypeAdapter(CancelRequest),
    "client-frame": CLIENT_FRAME,
    "server-frame": SERVER_FRAME,
}


def published() -> dict[str, str]:
    """Return file name → text of every published schema."""
    texts = {}
    for name, adapter in MODELS.items():
        mode: Any = "validation" if name in {"submit-task", "client-frame"} else "serialization"
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"https://milepost.dev/schemas/{name}.v1.json",
            **adapter.json_schema(mode=mode),
        }
        texts[f"{name}.v1.json"] = json.dumps(schema, indent=2, sort_keys=True) + "\n"
    return texts


def main() -> None:
    """Write every schema into the folder named, by default schemas/published."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "schemas/published")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in published().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
