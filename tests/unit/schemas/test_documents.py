"""The descriptions of the API, of the stream and of the topics."""

import json
from pathlib import Path

import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from milepost.log.topics import COMPLETIONS_KEPT_MS, Topics
from milepost_api.publish import document
from milepost_schemas.frames import CLIENT_FRAME, SERVER_FRAME
from milepost_schemas.problem import ProblemType
from milepost_schemas.task import Priority

PUBLISHED = Path(__file__).parents[3] / "schemas" / "published"
ASYNCAPI = yaml.safe_load((PUBLISHED / "asyncapi.yaml").read_text())


def test_the_published_openapi_is_that_of_the_routes() -> None:
    assert (PUBLISHED / "openapi.json").read_text() == document()


def test_the_openapi_document_is_valid_and_names_each_operation_once() -> None:
    openapi = json.loads(document())
    assert openapi["openapi"].startswith("3.1")
    validate(openapi, cls=OpenAPIV31SpecValidator)
    named = [each["operationId"] for path in openapi["paths"].values() for each in path.values()]
    named += [each["post"]["operationId"] for each in openapi["webhooks"].values()]
    assert len(named) == len(set(named))


def test_refusals_in_the_document_are_those_of_the_table() -> None:
    text = document()
    missing = {kind for kind in ProblemType if f"`{kind.uri}`" not in text}
    # Answered by the router, before any route; and by the notifier.
    assert missing <= {ProblemType.METHOD, ProblemType.BAD_REQUEST, ProblemType.KEY_IN_FLIGHT, ProblemType.TOO_MANY}


def _address(channel: str, **values: str) -> str:
    return str(ASYNCAPI["channels"][channel]["address"]).format(prefix="p", **values)


def test_the_topics_in_the_document_are_those_that_are_used() -> None:
    topics = Topics("p")
    assert _address("completions") == topics.completions
    assert _address("events") == topics.events
    assert _address("control") == topics.control
    assert _address("deadLetters") == topics.dead_letters
    lanes = ASYNCAPI["channels"]["work"]["parameters"]["lane"]["enum"]
    assert {_address("work", queue="q", lane=lane) for lane in lanes} == {topics.work("q", each) for each in Priority}
    assert f"{COMPLETIONS_KEPT_MS // 86_400_000} days" in ASYNCAPI["channels"]["completions"]["description"]


def test_every_frame_is_in_the_document() -> None:
    for operation, frames in (("takeFrames", CLIENT_FRAME), ("sendFrames", SERVER_FRAME)):
        named = {each["$ref"].rpartition("/")[2] for each in ASYNCAPI["operations"][operation]["messages"]}
        assert named == set(frames.json_schema()["discriminator"]["mapping"])
