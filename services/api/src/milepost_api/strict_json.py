"""JSON as RFC 8259 and I-JSON (RFC 7493) want it: nothing that two readers could understand differently."""

import json
from typing import Any, Final, NoReturn

import orjson

from milepost.domain.whole import is_exact
from milepost_api.problems import Refusal, finding
from milepost_schemas.problem import ProblemType

DEPTH: Final = 64
_EXACT: Final = 2.0**63
_MALFORMED: Final = "The body is not JSON: {}. Nothing was stored; correct it and send it again."


def parse(body: bytes) -> Any:
    """Return what a body says. Raises Refusal.

    Malformed JSON, NaN and members named twice are 400. NUL and lone surrogates (Postgres and UTF-8 cannot hold
    them), nesting beyond 64 and whole numbers beyond 64 bits (they would lose digits) are 422.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _explain(body, error)
    members, wide = _walk(value, nul_possible=b"\\u0000" in body)
    if wide:
        _refuse_wide(body)
    # Every member has a colon outside strings, so as many colons as members leave no room for a double.
    if body.count(b":") != members:
        _refuse_doubles(body)
    return value


def _walk(value: Any, *, nul_possible: bool) -> tuple[int, bool]:
    """Return the number of members in `value`, and whether a number may be too wide. Raises Refusal."""
    members = 0
    wide = False
    level: list[Any] = [value]
    for depth in range(DEPTH + 1):
        if depth == DEPTH and any(type(item) in {dict, list} for item in level):
            _refuse(f"it is nested more than {DEPTH} levels deep")
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                members += len(item)
                below.extend(item.values())
                if nul_possible:
                    below.extend(item)
            elif kind is list:
                below.extend(item)
            elif kind is float:
                wide = wide or item >= _EXACT or item <= -_EXACT
            elif kind is str and nul_possible and "\0" in item:
                _refuse("text holds the character NUL (\\u0000), which cannot be stored")
        if not below:
            break
        level = below
    return members, wide


def _refuse_wide(body: bytes) -> None:
    """Refuse whole numbers beyond 64 bits; 1e300 is a float like any other, but looks the same once parsed."""
    json.loads(body, parse_int=_narrow)


def _narrow(digits: str) -> None:
    if not is_exact(digits):
        _refuse("a whole number does not fit in 64 bits and would lose digits; send it as text")


def _refuse(why: str) -> NoReturn:
    detail = "The body is JSON, but Milepost does not take it. Nothing was stored."
    raise Refusal(ProblemType.INVALID, detail, [finding((), why)])


def _explain(body: bytes, error: orjson.JSONDecodeError) -> NoReturn:
    """Refuse what the fast parser refused; a slower one says what it is."""
    try:
        text = body.decode()
        json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        _refuse(f"it is nested more than {DEPTH} levels deep")
    except (UnicodeDecodeError, ValueError):
        raise Refusal(ProblemType.MALFORMED, _MALFORMED.format(_short(error))) from None
    if "surrogate" in error.msg:
        _refuse("text holds a lone surrogate, which is no character")
    if "depth" in error.msg:
        _refuse(f"it is nested more than {DEPTH} levels deep")
    raise Refusal(ProblemType.MALFORMED, _MALFORMED.format(_short(error)))


def _short(error: orjson.JSONDecodeError) -> str:
    return f"{error.msg.split(':', 1)[0]} at line {error.lineno} column {error.colno}"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse_doubles(body: bytes) -> None:
    json.loads(body, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Refusal(ProblemType.MALFORMED, _MALFORMED.format("an object names a member twice"))
