"""Which tasks a feed is about."""

from uuid import UUID

from pydantic import Field

from milepost_schemas.base import Request
from milepost_schemas.task import Labels, Name


class FeedFilter(Request):
    """Tasks for which everything given here is so. None of it ever changes in a task's life."""

    type: Name | None = None
    queue: Name | None = None
    labels: Labels = Field(default_factory=dict, description="Each of them, with this value.")
    parent: UUID | None = Field(default=None, description="Children of this task.")
    root: UUID | None = Field(default=None, description="This task, which has no parent, and all below it.")
