"""Defences that can be taken away by one change to a file, each with the tests that must notice."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

API: Final = "services/api/src/milepost_api"
NOTIFIER: Final = "services/notifier/src/milepost_notifier"
LIBRARY: Final = "src/milepost"
_SQL: Final = "src/milepost/store/sql"
_TENANT: Final = re.compile(r"\b(?:\w+\.)?tenant = \$\d+\b")

_SECOND_WALLS: Final = {
    "deliveries_of": "joins tasks to deliveries that were held against the tenant already",
    "delivery_get": "the same",
    "descendants_among": "goes up from tasks that were held against the tenant, and a parent is of the same one",
    "failed_groups": "each of its five steps is held against the tenant: nothing shows while four are",
    "measure": "for the operator: it counts the own tenant and all others apart",
    "key_create": "counts keys towards a bound, of which another tenant's would take a part and show nothing",
}
"""Statements that show nothing of others without one of these, or to nobody but the operator; and why."""

_ISOLATION: Final = (
    "tests/integration/api/test_isolation.py",
    "tests/integration/notifier/test_isolation.py",
    *(f"tests/integration/api/test_{of}.py" for of in ("dead_letters", "dead_records", "keys", "queues", "quotas")),
    *(f"tests/integration/api/test_{of}.py" for of in ("cancel_tree", "tasks", "webhooks")),
    "tests/integration/store/test_trees.py",
    "tests/integration/store/test_webhooks.py",
)


@dataclass(frozen=True, slots=True)
class Defence:
    """Taken away: in `file` the `nth` `code`, or the only one, becomes `instead`. `tests` are what pytest is given."""

    name: str
    file: str
    code: str
    instead: str
    tests: tuple[str, ...]
    nth: int | None = None


def _named(*names: str, where: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return pytest's arguments for tests with one of these in their names: `where`, or in the files that have them."""
    return (*(where or _files_with(names)), "-k", " or ".join(names))


def _files_with(names: tuple[str, ...]) -> Iterator[str]:
    for file in sorted(Path("tests").rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if any(f"def {name}" in text for name in names):
            yield str(file)


WRITTEN: Final = (
    Defence(
        "no page may use an answer of the api",
        f"{API}/reply.py",
        "[*headers] if page else [*headers, _NO_PAGE]",
        "[*headers]",
        _named("test_every_answer_says_what_it_is"),
    ),
    Defence(
        "answers of the api are what they say",
        f"{API}/server.py",
        '("x-content-type-options", "nosniff"),',
        "",
        _named("test_every_answer_says_what_it_is"),
    ),
    Defence(
        "no page may use an answer of the other servers",
        f"{LIBRARY}/runtime/health.py",
        "\"default-src 'none'; frame-ancestors 'none'\"",
        '"default-src *"',
        _named("test_every_answer_says_what_it_is"),
    ),
    Defence(
        "a page runs no script of its own text",
        f"{API}/routes/pages.py",
        "script-src 'self';",
        "script-src 'self' 'unsafe-inline';",
        _named("test_a_page_may_speak_to_us_and_the_notifier"),
    ),
    Defence(
        "the page with the description cannot be framed",
        f"{API}/routes/documentation.py",
        "frame-ancestors 'none'",
        "frame-ancestors *",
        _named("test_the_page_with_the_description_cannot_be_framed"),
    ),
    Defence(
        "Kafka's certificate is checked",
        f"{LIBRARY}/log/connection.py",
        "        if settings.kafka_ssl_certfile is not None:",
        "        context.check_hostname = False\n        context.verify_mode = ssl.CERT_NONE\n"
        "        if settings.kafka_ssl_certfile is not None:",
        ("tests/integration/secured",),
    ),
    Defence(
        "the api lets pages of listed origins call",
        f"{API}/app.py",
        "allow_origins=settings.allowed_origins,",
        'allow_origins=["*"],',
        _named("test_only_listed_origins_may_call_from_a_page"),
    ),
    Defence(
        "the stream lets pages of listed origins in",
        f"{NOTIFIER}/connections.py",
        "if origin is not None and origin not in allowed_origins:",
        "if origin is not None and origin in ():",
        _named("test_pages_of_other_origins_are_refused_before_the_upgrade"),
    ),
    Defence(
        "of two origins none counts",
        f"{NOTIFIER}/cors.py",
        "len(given) > 1 or given[0] not in self._origins",
        "given[-1] not in self._origins",
        _named("test_of_two_origins_none_counts", "test_pages_of_other_origins_get_nothing"),
    ),
    Defence(
        "streams over HTTP let pages of listed origins read",
        f"{NOTIFIER}/cors.py",
        "len(given) > 1 or given[0] not in self._origins",
        "len(given) > 1",
        _named("test_pages_of_other_origins_get_nothing"),
    ),
    Defence(
        "a star is no origin",
        f"{LIBRARY}/runtime/settings.py",
        "_ORIGIN.fullmatch(",
        "re.fullmatch('.*', ",
        _named("test_an_origin_that_no_browser_sends"),
    ),
    Defence(
        "no compressed body is taken",
        f"{API}/body.py",
        'if (header_of(scope, b"content-encoding") or "identity").strip().lower() != "identity":',
        "if False:",
        _named("test_a_compressed_body_is_not_taken", "test_a_bomb_is_not_unpacked"),
    ),
    Defence(
        "no packed message is taken",
        f"{NOTIFIER}/edge.py",
        "compression=None,",
        'compression="deflate",',
        _named("test_a_packed_message_closes_the_connection", "test_a_bomb_is_not_unpacked"),
    ),
    Defence(
        "a body has a bound",
        f"{API}/body.py",
        "        if len(body) > limit:",
        "        if False:",
        _named("test_a_body_beyond_the_limit_is_refused"),
    ),
    Defence(
        "what could hide a second request ends the connection",
        f"{API}/connection.py",
        "        self.transport.close()\n\n    def _count",
        "\n    def _count",
        _named("test_what_could_hide_a_second_request", "test_what_is_not_http_is_refused"),
    ),
    Defence(
        "headers have a bound",
        f"{API}/connection.py",
        "if self._size > HEADER_BYTES or len(self.headers) > HEADER_COUNT:",
        "if False:",
        _named("test_headers_without_end"),
    ),
    Defence(
        "headers have to come soon",
        f"{API}/connection.py",
        "self.loop.call_later(HEADERS_S, self._run_out)",
        "self.loop.call_later(3600, self._run_out)",
        _named("test_headers_that_drip_are_cut_off", "test_headers_of_a_second_request_that_drip"),
    ),
    Defence(
        "a body has to come soon",
        f"{API}/body.py",
        "asyncio.timeout(BODY_S)",
        "asyncio.timeout(None)",
        _named("body", where=("tests/attacks/test_slow_clients.py",)),
    ),
    Defence(
        "a reader has to read",
        f"{API}/connection.py",
        "            self._look_again = None\n            self._transport.abort()\n            return\n",
        "            self._look_again = None\n            return\n",
        _named("test_who_takes_no_answer_is_given_up"),
    ),
    Defence(
        "those who only sit there make room",
        f"{API}/connection.py",
        "if len(self._waiting) > MOST_WAITING:",
        "if False:",
        _named("test_those_who_only_sit_there_make_room"),
    ),
    Defence(
        "JSON has a depth",
        f"{API}/strict_json.py",
        "if depth == DEPTH and any(type(item) in {dict, list} for item in level):",
        "if False:",
        _named("test_a_body_that_cannot_be_taken_is_refused", "test_depth_is_counted", "test_bodies_are_read_strictly"),
    ),
    Defence(
        "no member comes twice",
        f"{API}/strict_json.py",
        'if body.count(b":") != members:',
        "if False:",
        _named("test_a_member_named_twice", "test_a_body_that_cannot_be_taken_is_refused"),
    ),
    Defence(
        "no NUL is taken",
        f"{API}/strict_json.py",
        'elif kind is str and nul_possible and "\\0" in item:',
        "elif False:",
        _named("test_a_body_that_cannot_be_taken_is_refused", "test_bodies_are_read_strictly"),
    ),
    Defence(
        "a token is signed by one algorithm",
        f"{LIBRARY}/runtime/tokens.py",
        "algorithms=[_ALGORITHM],",
        'algorithms=["HS256", "HS384", "HS512"],',
        _named("test_another_algorithm_is_refused", where=("tests/unit", "tests/integration/notifier")),
    ),
    Defence(
        "a token is signed",
        f"{LIBRARY}/runtime/tokens.py",
        'options={"require": _REQUIRED, ',
        'options={"verify_signature": False, "require": _REQUIRED, ',
        _named("token", where=("tests/unit/runtime", "tests/integration/notifier/test_tokens.py")),
    ),
    Defence(
        "a token has an audience",
        f"{LIBRARY}/runtime/tokens.py",
        '"strict_aud": True}',
        '"strict_aud": True, "verify_aud": False}',
        _named("test_what_a_ticket_stands_for_is_no_token", "test_a_claim_that_is_missing_or_wrong_is_refused"),
    ),
    Defence(
        "a token ends",
        f"{LIBRARY}/runtime/tokens.py",
        "if claims.exp <= now:",
        "if False:",
        _named("expire", where=("tests/unit/runtime", "tests/integration/notifier")),
    ),
    Defence(
        "nobody signs for a year",
        f"{LIBRARY}/runtime/tokens.py",
        "or claims.exp - claims.iat > TTL_MAX",
        "",
        _named("token", where=("tests/unit/runtime",)),
    ),
    Defence(
        "a token opens what it covers",
        f"{LIBRARY}/domain/grant.py",
        "return False if self.feed else None",
        "return True",
        _named("token", "grant", where=("tests/unit", "tests/integration/notifier/test_tokens.py")),
    ),
    Defence(
        "a cursor is signed",
        f"{API}/cursors.py",
        "or not hmac.compare_digest(mac, self._mac(tenant, filters, last))",
        "",
        _named("cursor", where=("tests/unit", "tests/integration/api")),
    ),
    Defence(
        "a cursor is its tenant's",
        f"{API}/cursors.py",
        "repr((tenant, shape))",
        "repr(shape)",
        _named("cursor", where=("tests/unit", "tests/integration/api")),
    ),
    Defence(
        "a ticket lets in once",
        f"{LIBRARY}/live/tickets.py",
        "self._redis.getdel(",
        "self._redis.get(",
        _named("ticket", where=("tests/integration",)),
    ),
    Defence(
        "who writes to Redis cannot make a ticket",
        f"{LIBRARY}/live/tickets.py",
        "sha256(ticket.encode()).hexdigest()",
        "sha256(b'').hexdigest() + ticket",
        _named("ticket", where=("tests/integration",)),
    ),
    Defence(
        "a scope is asked for",
        f"{API}/endpoint.py",
        "elif scope not in principal.scopes:",
        "elif False:",
        _named("scope", where=("tests/integration/api",)),
    ),
    Defence(
        "a watch token does not call the api",
        f"{API}/endpoint.py",
        "if not self.for_watchers:",
        "if False:",
        _named("token", where=("tests/integration/api",)),
    ),
    Defence(
        "a revoked key is worthless",
        f"{LIBRARY}/runtime/keys.py",
        "        if row.revoked:\n",
        "        if False:\n",
        _named("revoked", where=("tests/integration", "tests/unit/runtime")),
    ),
    Defence(
        "an expired key is worthless",
        f"{LIBRARY}/runtime/keys.py",
        "if row.expires_at is not None and row.expires_at <= time.time():",
        "if False:",
        _named("expired", where=("tests/integration/api", "tests/unit/runtime")),
    ),
    Defence(
        "an open stream ends with its key",
        f"{NOTIFIER}/edge.py",
        "session.principal.key in keys:",
        "session.principal.key is keys:",
        _named("revoked", where=("tests/integration/notifier",)),
    ),
    Defence(
        "only the installation's own tenant oversees",
        f"{LIBRARY}/runtime/auth.py",
        "return self.own and Scope.ADMIN in self.scopes",
        "return Scope.ADMIN in self.scopes",
        _named("admin", "installation", where=("tests/integration/api",)),
    ),
    Defence(
        "an open stream keeps its tenant",
        f"{NOTIFIER}/session.py",
        "if principal.tenant != before.tenant:",
        "if False:",
        _named("test_an_open_stream_cannot_change_its_tenant"),
    ),
    Defence(
        "a hello has to come",
        f"{NOTIFIER}/session.py",
        "self._close(CloseCode.NO_HELLO)",
        "pass",
        _named("test_no_hello_is_closed"),
    ),
    Defence(
        "a frame has a size",
        f"{NOTIFIER}/edge.py",
        "max_size=FRAME_MAX,",
        "max_size=None,",
        _named("test_a_huge_frame_is_closed", "test_a_frame_in_endless_fragments_is_closed"),
    ),
    Defence(
        "frames have a pace",
        f"{NOTIFIER}/budget.py",
        "        if self._left < 1:\n            return False\n",
        "",
        _named("flood", "too_many", "too_fast", "budget", where=("tests/unit/notifier", "tests/integration/notifier")),
    ),
    Defence(
        "an address has so many connections",
        f"{NOTIFIER}/admission.py",
        "if admission.by_address[address] >= most:",
        "if False:",
        _named("address", where=("tests/unit/notifier", "tests/integration/notifier")),
    ),
    Defence(
        "who a proxy speaks for is believed of trusted ones",
        f"{NOTIFIER}/admission.py",
        "if address is None or not self._trusts(address):",
        "if address is None:",
        _named("address", "prox", where=("tests/unit/notifier", "tests/integration/notifier")),
    ),
    Defence(
        "members of the server cannot be set",
        "schemas/src/milepost_schemas/base.py",
        'ConfigDict(extra="forbid", frozen=True)',
        'ConfigDict(extra="ignore", frozen=True)',
        _named("test_members_of_the_server_cannot_be_set"),
    ),
    Defence(
        "a tenant asks so often",
        f"{API}/endpoint.py",
        "left = await call.services.rates.admit(",
        "left = () and await call.services.rates.admit(",
        _named("often", "quota", where=("tests/integration/api",)),
    ),
    Defence(
        "logs steer no terminal",
        f"{LIBRARY}/runtime/logs.py",
        "if not shown.isprintable():",
        "if False:",
        _named("test_a_logged_text_forges_no_line", where=("tests/unit",)),
    ),
    Defence(
        "the CLI steers no terminal",
        f"{LIBRARY}/cli/output.py",
        "    if text.isprintable():\n        return text\n",
        "    return text\n",
        _named("terminal", where=("tests/unit",)),
    ),
    Defence(
        "the key of this machine stays here",
        f"{LIBRARY}/client/address.py",
        "if key is None and _is_local(url):",
        "if key is None:",
        _named("test_the_key_of_this_machine_is_not_sent_elsewhere"),
    ),
    Defence(
        "pages come from one folder",
        f"{API}/routes/pages.py",
        "if _NAME.fullmatch(name) and Path(name).suffix in _TYPES:",
        "if True:",
        _named("test_nothing_else_can_be_had"),
    ),
)


def of_tenants(root: Path) -> Iterator[Defence]:
    """Yield one for each place of a statement that holds rows against the caller's tenant."""
    for file in sorted((root / _SQL).glob("*.sql")):
        if file.stem in _SECOND_WALLS:
            continue
        seen: Counter[str] = Counter()
        for found in _TENANT.finditer(file.read_text(encoding="utf-8")):
            code = found[0]
            nth = seen[code]
            seen[code] += 1
            yield Defence(
                f"{file.stem}: {code} ({nth + 1})",
                f"{_SQL}/{file.name}",
                code,
                # Still a use of the parameter, or its type would be unknown.
                f"({code} or true)",
                _ISOLATION,
                nth,
            )
