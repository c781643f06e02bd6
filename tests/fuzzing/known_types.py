"""Hooks of schemathesis: half of the tasks it submits are of a type somebody knows, or it would never have one."""

from typing import Any

import schemathesis


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Give every other submission a type that was announced, by the length of what it says."""
    if context.operation.method.upper() != "POST" or not isinstance(body, dict):
        return body
    if context.operation.path == "/v1/tasks":
        return _known(body)
    if context.operation.path == "/v1/tasks/batch" and isinstance(body.get("tasks"), list):
        return {**body, "tasks": [_known(each) if isinstance(each, dict) else each for each in body["tasks"]]}
    return body


def _known(task: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(task.get("type"), str) or len(task["type"]) % 2:
        return task
    return {**task, "type": "demo.free", "parent_id": None}
