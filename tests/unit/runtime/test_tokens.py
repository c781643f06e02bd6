"""Watch tokens: what is accepted, and every trick that is not."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from uuid import UUID

import jwt
import pytest

from milepost.domain.feed_filter import Filter
from milepost.domain.grant import EVERYTHING, Grant
from milepost.errors import SettingsError
from milepost.runtime.auth import WATCH, Authenticator
from milepost.runtime.settings import Settings
from milepost.runtime.tokens import TICKET, TokenExpired, Tokens

SECRET = b"a secret of at least thirty-two bytes"
TASK = UUID("01890000-0000-7000-8000-000000000001")
GRANT = Grant(task=TASK)
NARROW = Grant(feed=True, filter=Filter("t", "q", (("a", "1"),), str(TASK), str(TASK)))


@pytest.fixture
def tokens() -> Tokens:
    return Tokens([SECRET])


def claims(**others: Any) -> dict[str, Any]:
    now = int(time.time())
    given = {
        "iss": "milepost",
        "aud": "milepost.stream",
        "sub": "default",
        "iat": now,
        "exp": now + 900,
        "jti": "j",
        "task": str(TASK),
        **others,
    }
    return {name: value for name, value in given.items() if value is not None}


def signed(
    said: Any, secret: bytes = SECRET, header: dict[str, Any] | None = None, digest: Any = hashlib.sha256
) -> str:
    """Sign as anybody with some secret could, whatever the header says."""
    parts = [header or {"alg": "HS256", "typ": "JWT"}, said]
    text = b".".join(_b64(json.dumps(part).encode()) for part in parts)
    return (text + b"." + _b64(hmac.digest(secret, text, digest))).decode()


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@pytest.mark.parametrize("grant", [GRANT, Grant(label=("customer", "42")), Grant(feed=True), NARROW])
def test_what_was_signed_is_what_is_read(tokens: Tokens, grant: Grant) -> None:
    token, expires = tokens.sign("default", grant, 60)
    verified = tokens.verify(token)
    assert verified is not None
    assert verified[:3] == ("default", grant, expires)
    assert 58 < verified.lasts <= 60


def test_what_others_sign_by_the_same_rules_is_read(tokens: Tokens) -> None:
    verified = tokens.verify(signed(claims()))
    assert verified is not None
    assert verified.grant == GRANT


def test_two_tokens_are_never_the_same(tokens: Tokens) -> None:
    assert tokens.sign("default", GRANT, 60) != tokens.sign("default", GRANT, 60)


def test_an_expired_token_is_told_from_a_forged_one(tokens: Tokens) -> None:
    past = int(time.time()) - 1000
    with pytest.raises(TokenExpired):
        tokens.verify(tokens.sign("default", GRANT, 900, now=past)[0])
    assert tokens.verify(signed(claims(exp=past, iat=past - 1), b"x" * 40)) is None


def test_a_token_expires_to_the_second(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    token, expires = tokens.sign("default", GRANT, 60)
    monkeypatch.setattr(time, "time", lambda: expires - 0.001)
    assert tokens.verify(token) is not None
    monkeypatch.setattr(time, "time", lambda: float(expires))
    with pytest.raises(TokenExpired):
        tokens.verify(token)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None])
def test_a_token_without_a_signature_is_refused(tokens: Tokens, alg: Any) -> None:
    head, body = _b64(json.dumps({"alg": alg, "typ": "JWT"}).encode()), _b64(json.dumps(claims()).encode())
    for signature in (b"", _b64(b"x")):
        assert tokens.verify(b".".join([head, body, signature]).decode()) is None
    assert tokens.verify((head + b"." + body).decode()) is None


@pytest.mark.parametrize("alg", ["HS512", "HS384", "RS256", "ES256", "EdDSA"])
def test_another_algorithm_is_refused_although_the_key_is_right(tokens: Tokens, alg: str) -> None:
    digest = {"HS512": hashlib.sha512, "HS384": hashlib.sha384}.get(alg, hashlib.sha256)
    assert tokens.verify(signed(claims(), header={"alg": alg, "typ": "JWT"}, digest=digest)) is None


def test_a_key_that_the_token_brings_along_is_not_used(tokens: Tokens) -> None:
    mine = b"k" * 32
    jwk = {"kty": "oct", "k": _b64(mine).decode()}
    for more in ({"jwk": jwk}, {"kid": "../../dev/null"}, {"jku": "https://evil.example/keys"}, {"x5u": "https://e"}):
        assert tokens.verify(signed(claims(), mine, {"alg": "HS256", "typ": "JWT", **more})) is None
    for empty in (b"", b"\0"):
        assert tokens.verify(signed(claims(), empty)) is None


@pytest.mark.parametrize(
    "others",
    [
        {"iss": "evil"},
        {"iss": None},
        {"iss": ["milepost"]},
        {"aud": "milepost.api"},
        {"aud": ["milepost.stream", "other"]},
        {"aud": None},
        {"sub": None},
        {"sub": "other tenant"},
        {"sub": 7},
        {"sub": "default\n"},
        {"iat": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"jti": None},
        {"jti": ""},
        {"task": None},
        {"task": "every"},
        {"task": None, "feed": "everything"},
        {"feed": "tasks"},
        {"filter": {"type": "t"}},
        {"task": None, "feed": "tasks", "filter": {"tipe": "t"}},
        {"task": None, "feed": "tasks", "filter": "all"},
        {"label": {"name": "a", "value": "b"}},
        {"task": None, "label": {"name": "a"}},
        {"task": None, "label": {"name": "a", "value": "b", "or": "c"}},
        {"task": None, "label": "a=b"},
        {"task": None, "all": True},
        {"task": None, "all": True, "aud": "milepost.ticket"},
        {"aud": "milepost.ticket"},
    ],
    ids=str,
)
def test_a_claim_that_is_missing_or_wrong_is_refused(tokens: Tokens, others: dict[str, Any]) -> None:
    assert tokens.verify(signed(claims(**others))) is None


def test_nobody_can_sign_for_longer_than_an_hour(tokens: Tokens) -> None:
    now = int(time.time())
    assert tokens.verify(signed(claims(exp=now + 3600))) is not None
    assert tokens.verify(signed(claims(exp=now + 3601))) is None
    assert tokens.verify(signed(claims(iat=now + 100_000, exp=now + 103_000))) is None
    assert tokens.verify(signed(claims(exp=2**60))) is None


def test_a_changed_token_is_refused(tokens: Tokens) -> None:
    head, body, signature = tokens.sign("default", GRANT, 60)[0].split(".")
    other = _b64(json.dumps(claims(task=str(UUID(int=TASK.int + 1)))).encode()).decode()
    assert tokens.verify(f"{head}.{other}.{signature}") is None
    assert tokens.verify(f"{head}.{body}.{signature[:-2]}") is None
    assert tokens.verify(f"{head}.{body}.{signature}.{signature}") is None


def test_a_token_that_is_too_long_is_not_even_read(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = signed(claims(more="x" * 2500))
    assert len(fits) < 4096
    assert tokens.verify(fits) is not None
    token = signed(claims(more="x" * 4000))
    monkeypatch.setattr(jwt, "decode", pytest.fail)
    assert tokens.verify(token) is None


@pytest.mark.parametrize("garbage", ["", ".", "..", "a.b.c", "é.ü.ß", "\ud800.a.b", "\0..", "." * 4000, "[" * 4000])
def test_garbage_is_no_token(tokens: Tokens, garbage: str) -> None:
    assert tokens.verify(garbage) is None


def test_json_that_is_nested_without_end_is_no_token(tokens: Tokens) -> None:
    head = _b64(b'{"alg":"HS256"}')
    for body in (b"[" * 2000, b'{"a":' * 700, b"7", b"null", b"[]"):
        text = head + b"." + _b64(body)
        assert tokens.verify((text + b"." + _b64(hmac.digest(SECRET, text, "sha256"))).decode()) is None


def test_old_secrets_verify_and_the_newest_signs() -> None:
    old, new = b"o" * 32, b"n" * 32
    before = Tokens([old]).sign("default", GRANT, 60)[0]
    both = Tokens([new, old])
    assert both.verify(before) is not None
    assert Tokens([new]).verify(before) is None
    assert Tokens([new]).verify(both.sign("default", GRANT, 60)[0]) is not None


def test_what_a_ticket_stands_for_is_no_token_and_no_token_is_a_ticket(tokens: Tokens) -> None:
    for grant in (EVERYTHING, GRANT):
        inner, _ = tokens.sign("default", grant, 60, audience=TICKET)
        assert tokens.verify(inner) is None
        verified = tokens.verify(inner, audience=TICKET)
        assert verified is not None
        assert verified.grant == grant
    assert tokens.verify(tokens.sign("default", GRANT, 60)[0], audience=TICKET) is None


class TestSettings:
    def test_without_a_secret_it_is_made_of_the_key(self) -> None:
        one, same, other = (Tokens.of(Settings(_env_file=None, api_key=key)) for key in ("k1", "k1", "k2"))
        token, _ = one.sign("default", GRANT, 60)
        assert same.verify(token) is not None
        assert other.verify(token) is None

    def test_the_key_itself_signs_nothing(self) -> None:
        key = "k" * 40
        assert Tokens.of(Settings(_env_file=None, api_key=key)).verify(signed(claims(), key.encode())) is None

    def test_without_key_and_secret_every_token_is_refused(self) -> None:
        nobody = Authenticator(Settings(_env_file=None))
        for secret in (SECRET, b""):
            assert nobody.principal(signed(claims(), secret)) is None
        assert nobody.principal("") is None

    def test_a_secret_that_could_be_guessed_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MILEPOST_TOKEN_SECRET", "hunter2")
        monkeypatch.setenv("MILEPOST_TOKEN_SECRETS_OLD", f"{'x' * 32},hunter3")
        with pytest.raises(SettingsError, match="shorter than 32 bytes") as refusal:
            Settings.load()
        assert str(refusal.value).count("shorter than") == 2
        assert "hunter" not in str(refusal.value)

    def test_secrets_of_before_are_a_list(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MILEPOST_TOKEN_SECRET", "n" * 32)
        monkeypatch.setenv("MILEPOST_TOKEN_SECRETS_OLD", f"{'o' * 32}, {'p' * 32}")
        settings = Settings.load()
        assert "ooo" not in repr(settings)
        for old in ("o", "p"):
            token, _ = Tokens([old.encode() * 32]).sign("default", GRANT, 60)
            assert Tokens.of(settings).verify(token) is not None


class TestPrincipal:
    def test_of_a_key_may_do_everything_and_never_expires(self) -> None:
        principal = Authenticator(Settings(_env_file=None, api_key="k", tenant="acme")).principal("k")
        assert principal is not None
        assert (principal.tenant, principal.grant.everything, principal.lasts) == ("acme", True, None)

    def test_of_a_token_may_only_watch(self) -> None:
        authenticator = Authenticator(Settings(_env_file=None, api_key="k"))
        principal = authenticator.principal(authenticator.tokens.sign("default", GRANT, 60)[0])
        assert principal is not None
        assert principal.scopes == WATCH
        assert principal.watches
        assert not principal.grant.everything
        assert principal.lasts is not None
