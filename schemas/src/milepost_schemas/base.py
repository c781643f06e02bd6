"""What every contract has in common."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict


class Contract(BaseModel):
    """A message we write. Readers ignore members they do not know, so that a newer writer can add some."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="null")


class Request(BaseModel):
    """A message we accept from outside. Unknown members are refused: a misspelt option must not be lost."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


Timestamp = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""An instant with an offset, RFC 3339 on the wire, always shown in UTC."""
