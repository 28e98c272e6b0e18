"""Input that is wrong, too large or broken: a clear refusal in the right shape, and nothing changed."""

import json
from typing import Any

import httpx
import pytest

from capsule_cloud.memory.limits import MAX_TURN_BYTES, MAX_TURNS
from tests.factories import Tenant
from tests.journeys.attacker import Attacker, assert_refused, untouched

NUL = "a\x00b"
HALF = "a\ud800b"  # half of a surrogate pair: JSON can say it, Unicode cannot
WRONG_TYPES: list[Any] = [7, 1.5, True, [], {}, [1], {"a": 1}, "x" * 3_000, NUL, HALF, 10**400]
DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
JSON = {"Content-Type": "application/json"}
TURN = {"user_message": "Hello", "assistant_response": "Hi"}


@pytest.fixture
def me(http: httpx.Client, live_tenant: Tenant) -> Attacker:
    """A key of a tenant."""
    return Attacker(http, live_tenant.secret)


def as_json(body: Any) -> bytes:
    return json.dumps(body).encode()


TEXTS = [
    ("POST", "/api/v1/sessions/s/ingest", TURN, "user_message"),
    ("POST", "/api/v1/sessions/s/ingest", TURN, "assistant_response"),
    ("POST", "/api/v1/sessions/s/ingest", TURN, "user_id"),
    ("POST", "/api/v1/sessions/s/ingest", TURN, "turns"),
    ("POST", "/api/v1/sessions/s/seal", {}, "title"),
    ("POST", "/api/v1/sessions/s/seal", {}, "tags"),
    ("POST", "/api/v1/sessions/s/seal", {}, "facts"),
    ("POST", "/api/v1/sessions/s/seal", {}, "summary"),
    ("POST", "/api/v1/sessions/s/triggers/evt_1/confirm", {}, "resolution"),
    ("POST", "/api/v1/capsules/merge", {"capsule_ids": ["cap_a", "cap_b"]}, "capsule_ids"),
    ("POST", "/api/v1/capsules/merge", {"capsule_ids": ["cap_a", "cap_b"]}, "title"),
    ("POST", "/api/v1/capsules/cap_x/fork", {"new_user_id": "bob"}, "new_user_id"),
    ("POST", "/api/v1/capsules/cap_x/fork", {"new_user_id": "bob"}, "new_agent_id"),
    ("PUT", "/api/v1/capsules/cap_x/tags", {"tags": []}, "tags"),
    ("PUT", "/api/v1/capsules/cap_x/expiry", {}, "expires_at"),
    ("PATCH", "/v1/organization", {}, "name"),
    ("POST", "/v1/projects", {"name": "P"}, "name"),
    ("POST", "/v1/projects", {"name": "P"}, "slug"),
    ("POST", "/v1/invitations", {"email": "a@example.com", "role": "member"}, "email"),
    ("POST", "/v1/invitations", {"email": "a@example.com", "role": "member"}, "role"),
    ("POST", "/v1/keys", {"name": "K", "scopes": ["memory:read"]}, "scopes"),
    ("POST", "/v1/keys", {"name": "K", "scopes": ["memory:read"]}, "expires_at"),
    ("POST", "/v1/keys", {"name": "K", "scopes": ["memory:read"]}, "requests_per_minute"),
    ("POST", "/v1/keys", {"name": "K", "scopes": ["memory:read"]}, "allowed_cidrs"),
]
# What a field takes of the list above after all. Names under /v1 read a number as text, as Django REST Framework does.
FINE: dict[tuple[str, str], list[Any]] = {
    ("/v1/organization", "name"): [7, 1.5],
    ("/v1/projects", "name"): [7, 1.5],
    ("/v1/projects", "slug"): [7, 1.5],
    ("/v1/keys", "allowed_cidrs"): [[]],
    ("/api/v1/sessions/s/ingest", "user_message"): ["x" * 3_000],
    ("/api/v1/sessions/s/ingest", "assistant_response"): ["x" * 3_000],
    ("/v1/keys", "requests_per_minute"): [7],
}


@pytest.mark.parametrize(("method", "path", "body", "field"), TEXTS, ids=lambda value: str(value)[:40])
def test_a_value_of_a_wrong_kind_is_refused(
    live_tenant: Tenant, me: Attacker, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    with untouched(live_tenant):
        for value in WRONG_TYPES:
            if value in FINE.get((path, field), []) and not isinstance(value, bool):
                continue
            answer = me(
                method, path, content=as_json(body | {field: value}), headers={"Content-Type": "application/json"}
            )
            assert_refused(answer, 400, 404, 413, 422)


BODIES = {
    "empty": b"",
    "not JSON": b"{",
    "a list": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "NaN": b'{"title": NaN}',
    "bad UTF-8": b'{"title": "\xff\xfe"}',
    "overlong UTF-8": b'{"title": "\xc0\xaf"}',
    "UTF-16": '{"title": "x"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "half a pair": b'{"title": "\\ud800"}',
    "deep": DEEP,
    "deep lists": b"[" * 100_000,
    "two values": b"{}{}",
    "single quotes": b"{'title': 'x'}",
    "a raw NUL": b'{"title": "\x00"}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_json_object_is_refused(live_tenant: Tenant, me: Attacker, name: str) -> None:
    with untouched(live_tenant):
        for method, path in (
            ("POST", "/api/v1/sessions/s/ingest"),
            ("POST", "/api/v1/capsules/merge"),
            ("PUT", "/api/v1/capsules/cap_x/tags"),
            ("POST", "/v1/projects"),
            ("POST", "/v1/keys"),
        ):
            answer = me(method, path, content=BODIES[name], headers=JSON)
            assert_refused(answer, 400, 422)


CONTENT_TYPES = [
    "text/plain",
    "application/xml",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=\xff",
    "multipart/form-data; boundary=x; charset=rot13",
    "application/x-www-form-urlencoded; charset=latin-1",
    "application/x-www-form-urlencoded; charset=utf-16",
    "application/json; charset=base64",
    "application/json; charset=undefined",
    "application/json; charset=utf-16",
    ";;;",
    "",
]


@pytest.mark.parametrize("kind", CONTENT_TYPES)
def test_no_content_type_upsets_the_server(live_tenant: Tenant, me: Attacker, kind: str) -> None:
    header = b"Content-Type: " + kind.encode("latin-1")
    with untouched(live_tenant):
        for method, target, body in (
            ("POST", "/api/v1/capsules/import", b"a=b&c=%ff"),
            ("POST", "/v1/projects", b"{"),
            ("POST", "/api/v1/sessions/s/ingest", b"{"),
            ("POST", "/mcp", b"{"),
            ("GET", "/api/v1/recall?query=&user_id=%ff", b""),
            ("GET", "/v1/audit/events?action=%ff&limit=0", b""),
        ):
            status, _, content = me.raw(method, target, header, body=body)
            assert status in {400, 406, 415, 422}, (method, target, status, content)


def test_text_in_a_query_is_unicode(live_tenant: Tenant, me: Attacker) -> None:
    with untouched(live_tenant):
        for target in (
            "/api/v1/sessions?user_id=%FF",
            "/api/v1/sessions?user_id=a%00b",
            "/api/v1/sessions?user_id=%ED%A0%80",
            "/api/v1/sessions?user_id=",
            "/api/v1/sessions?user_id=" + "x" * 256,
            "/api/v1/sessions?session_id=%C0%AF",
        ):
            status, _, content = me.raw("POST", target)
            assert status in {400, 422}, (target, status, content)


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "99999-01-01T00:00:00Z"])
def test_the_ends_of_time_are_refused(live_tenant: Tenant, me: Attacker, moment: str) -> None:
    own = me("POST", "/api/v1/capsules/import", files={"file": ("own.txt", b"mine")}).json()["capsule_id"]
    with untouched(live_tenant):
        assert_refused(me("PUT", f"/api/v1/capsules/{own}/expiry", json={"expires_at": moment}), 400, 422)
        assert_refused(me("POST", "/v1/keys", json={"name": "K", "scopes": ["org:read"], "expires_at": moment}), 422)
    for name in ("since", "until"):
        assert me("GET", "/v1/audit/events", params={name: moment}).status_code in {200, 422}
        assert_refused(me("GET", "/v1/usage", params={name: moment}), 422)


def test_a_turn_is_taken_to_the_last_byte_of_its_limit(live_tenant: Tenant, me: Attacker) -> None:
    for part in ("user_message", "assistant_response"):
        largest = TURN | {part: "ä" * (MAX_TURN_BYTES // 2)}
        assert me("POST", f"/api/v1/sessions/{part}/ingest", json=largest).status_code == 200
        with untouched(live_tenant):
            for body in (TURN | {part: largest[part] + "x"}, {"turns": [TURN, TURN | {part: largest[part] + "x"}]}):
                assert_refused(me("POST", "/api/v1/sessions/larger/ingest", json=body), 413)


def test_a_session_is_full_at_five_hundred_turns(live_tenant: Tenant, me: Attacker) -> None:
    pairs = [TURN] * (MAX_TURNS // 2)
    with untouched(live_tenant):
        assert_refused(me("POST", "/api/v1/sessions/s/ingest", json={"turns": [*pairs, TURN]}), 409, 422)
    assert me("POST", "/api/v1/sessions/s/ingest", json={"turns": pairs}).json()["total_turns"] == MAX_TURNS
    with untouched(live_tenant):
        assert_refused(me("POST", "/api/v1/sessions/s/ingest", json=TURN), 409)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (method, target)
        for target in ("/api/v1/capsules", "/api/v1/recall?query=x", "/v1/projects", "/v1/usage", "/mcp", "/health")
        for method in ("HEAD", "OPTIONS", "TRACE", "PROPFIND")
    ],
)
def test_a_method_that_there_is_not_is_refused(live_tenant: Tenant, me: Attacker, method: str, target: str) -> None:
    with untouched(live_tenant):
        status, headers, _ = me.raw(method, target)
    assert status in {400, 405}
    assert status == 400 or "GET" in headers["allow"] or target == "/mcp"


def test_no_header_comes_back_as_one_of_ours(live_tenant: Tenant, me: Attacker) -> None:
    with untouched(live_tenant):
        for header in (
            b"Origin: https://evil.example\rX-Injected: 1",
            b"Origin: https://evil.example%0d%0aX-Injected: 1",
            b"Origin: \xff",
            b"Idempotency-Key: \xff",
            b"Idempotency-Key: " + b"k" * 256,
            b"Idempotency-Key: a\tb",
            b"X-Passphrase: \xff",
            b"MCP-Protocol-Version: \xff",
            b"Content-Length: 5",
            b"Transfer-Encoding: chunked",
        ):
            status, headers, _ = me.raw("POST", "/api/v1/capsules/merge", header, b"Content-Type: application/json")
            assert 400 <= status < 500, (header, status)
            assert "x-injected" not in headers
        target = "/api/v1/capsules/a%0d%0aX-Injected:%201/export"
        status, headers, _ = me.raw("GET", target)
        assert (status, "x-injected" in headers) == (404, False)


def test_a_form_is_unicode(live_tenant: Tenant, me: Attacker) -> None:
    parts = (
        b'--x\r\nContent-Disposition: form-data; name="user_id"\r\n\r\n%s\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nmine\r\n--x--\r\n'
    )
    with untouched(live_tenant):
        for user in (b"\xff", b"a\x00b", b"", b"x" * 256):
            kind = b"Content-Type: multipart/form-data; boundary=x"
            status, _, content = me.raw("POST", "/api/v1/capsules/import", kind, body=parts % user)
            assert status in {400, 422}, (user, status, content)
