"""The SDK: how a function becomes a task, and what it is given when it runs."""

from milepost.tasks.context import Context, ProgressSink
from milepost.tasks.definition import Isolation, TaskDefinition, task
from milepost.tasks.loglines import Level, LogLine
from milepost.tasks.registry import Registry, registry

__all__ = ["Context", "Isolation", "Level", "LogLine", "ProgressSink", "Registry", "TaskDefinition", "registry", "task"]
