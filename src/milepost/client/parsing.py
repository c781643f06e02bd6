"""What the API sends and what callers hand in, as what it is meant to be."""

from typing import Final, TypeVar
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from milepost.client.http import Answer
from milepost.errors import NotFound, Unreachable
from milepost_schemas.problem import ProblemType

T = TypeVar("T")

_EXAMPLE: Final = "01941f29-7c00-7d3e-8a5b-0242ac120002"


def parsed(adapter: TypeAdapter[T], answer: Answer) -> T:
    """Return what an answer holds. Raises Unreachable if it does not: then it was not Milepost that answered."""
    try:
        return adapter.validate_json(answer.body)
    except ValidationError as error:
        raise not_milepost(error) from error


def not_milepost(error: Exception) -> Unreachable:
    """Return what is raised for an answer that is none of Milepost's."""
    return Unreachable(
        f"What answered is not the Milepost API this client knows ({str(error).splitlines()[0]}). Check MILEPOST_URL."
    )


def task_uuid(value: UUID | str) -> UUID:
    """Read an id. Raises Refused as the API would: there is no task with a name that is no id."""
    if isinstance(value, UUID):
        return value
    try:
        return UUID(str(value))
    except ValueError:
        raise NotFound(
            404, ProblemType.NOT_FOUND.uri, f"{value!r} is not a task id; ids look like {_EXAMPLE}."
        ) from None
