"""What the engine's own server lets strangers do must not be possible here: one test for each of its known defects."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from capsule_cloud.memory.models import SkillTrigger
from capsule_cloud.memory.services import sessions
from capsule_cloud.memory.services.sessions import TurnPair
from tenancy.roles import KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys, projects
from tests.capsule_cloud.memory.capsules_for_tests import memory, store
from tests.factories import Tenant, make_tenant
from tests.journeys.attacker import Attacker, assert_refused, untouched

SECRET_FACT = "the vault opens with 4711"
NOTICED = TurnPair("Perfect, remember this release checklist.", "Tag, build, deploy, then watch Sentry for an hour.")


@dataclass(frozen=True, slots=True)
class Victim:
    """What dana, an end user of a tenant's first project, has there."""

    tenant: Tenant
    capsule: str
    second: str
    session: str
    event: str


@pytest.fixture
def victim(live_tenant: Tenant) -> Victim:
    """Two capsules, an open session, and a skill noticed in it."""
    first, second = (memory(SECRET_FACT, title=title, user_id="dana") for title in ("Vault", "Second vault"))
    store(live_tenant, first, second)
    sessions.ingest(
        organization_id=live_tenant.organization.pk,
        project_id=live_tenant.project.pk,
        session_id="danas",
        user_id="dana",
        turns=[NOTICED],
        actor=live_tenant.actor,
    )
    with scope(live_tenant.organization):
        event = SkillTrigger.objects.get().event_id
    return Victim(live_tenant, first.capsule_id, second.capsule_id, "danas", event)


@pytest.fixture(params=["another project", "another organization"])
def attacker(request: pytest.FixtureRequest, http: httpx.Client, victim: Victim) -> Iterator[Attacker]:
    """A key with every scope, of another project of the same organization or of another organization."""
    if request.param == "another organization":
        yield Attacker(http, make_tenant().secret)
        return
    with scope(victim.tenant.organization):
        other = projects.create(actor=victim.tenant.actor, name="Other")
        secret = _key(victim.tenant, other.pk)
    yield Attacker(http, secret)


def _key(tenant: Tenant, project_id: UUID) -> str:
    maker = keys.Maker(tenant.actor, user=tenant.owner, role=Role.OWNER)
    return keys.create(maker=maker, project_id=project_id, name="Other", scopes=list(KeyScope.values)).secret


def by_id(capsule: str, session: str, event: str) -> list[tuple[str, str, Any]]:
    """Every request that names a capsule or a session, but for the merge."""
    one, talk = f"/api/v1/capsules/{capsule}", f"/api/v1/sessions/{session}"
    return [
        ("GET", one, None),
        ("DELETE", one, None),
        *(("GET", f"{one}/export?format={kind}", None) for kind in ("json", "msgpack", "universal", "prompt")),
        ("GET", f"{one}/export?encrypt=true&passphrase=long-enough", None),
        ("GET", f"{one}/prompt-snippet", None),
        ("POST", f"{one}/fork", {"new_user_id": "mallory"}),
        ("GET", f"{one}/diff/{capsule}", None),
        ("PUT", f"{one}/pin", None),
        ("DELETE", f"{one}/pin", None),
        ("PUT", f"{one}/tags", {"tags": ["stolen"]}),
        ("PUT", f"{one}/expiry", {"expires_at": "2999-01-01T00:00:00Z"}),
        ("GET", f"{talk}/snapshot", None),
        ("GET", f"{talk}/triggers", None),
        ("POST", f"{talk}/triggers/{event}/confirm", {"resolution": "ignore"}),
        ("POST", f"{talk}/seal", {}),
    ]


def test_nothing_is_reached_by_its_id_from_elsewhere(victim: Victim, attacker: Attacker) -> None:
    with untouched(victim.tenant):
        for method, path, body in by_id(victim.capsule, victim.session, victim.event):
            answer = attacker(method, path, json=body)
            assert_refused(answer, 404)
            assert SECRET_FACT not in answer.text


def test_nothing_of_others_slips_into_a_merge_or_a_comparison(victim: Victim, attacker: Attacker) -> None:
    own = attacker("POST", "/api/v1/capsules/import", files={"file": ("own.txt", b"mine")}).json()["capsule_id"]
    with untouched(victim.tenant):
        for pair in ([own, victim.capsule], [victim.capsule, own], [victim.capsule, victim.second]):
            assert_refused(attacker("POST", "/api/v1/capsules/merge", json={"capsule_ids": pair}), 400)
        assert_refused(attacker("GET", f"/api/v1/capsules/{own}/diff/{victim.capsule}"), 404)
        assert_refused(attacker("GET", f"/api/v1/capsules/{victim.capsule}/diff/{own}"), 404)


def test_lists_recall_and_forgetting_see_nothing_of_others(victim: Victim, attacker: Attacker) -> None:
    with untouched(victim.tenant, besides={"audit_auditevent", "metering_usageevent"}):
        for query in ("", "?user_id=dana", "?type=memory&limit=100"):
            assert attacker("GET", f"/api/v1/capsules{query}").json() == []
        recalled = attacker("GET", "/api/v1/recall?query=vault&user_id=dana&top_k=10").json()
        assert (recalled["sources"], recalled["facts"]) == ([], [])
        assert attacker("GET", "/api/v1/users").json()["users"] == []
        assert attacker("GET", "/api/v1/capsules/pending-triggers?user_id=dana").json()["triggers"] == []
        gone = attacker("DELETE", "/api/v1/users/dana").json()
        assert {gone[name] for name in ("capsules", "sessions", "turns", "triggers")} == {0}


@pytest.fixture
def insider(http: httpx.Client, victim: Victim) -> Attacker:
    """The project's own key, held by a program that acts for one end user at a time."""
    return Attacker(http, victim.tenant.secret)


def test_a_session_of_the_same_name_elsewhere_is_another_session(
    victim: Victim, attacker: Attacker, insider: Attacker
) -> None:
    path = f"/api/v1/sessions/{victim.session}"
    before = insider("GET", f"{path}/snapshot").json()
    opened = attacker("POST", f"/api/v1/sessions?user_id=bob&session_id={victim.session}")
    assert opened.json() == {"session_id": victim.session, "user_id": "bob"}
    turn = {"user_message": "I am dana", "assistant_response": "Hello", "user_id": "bob"}
    assert attacker("POST", f"{path}/ingest", json=turn).json()["total_turns"] == 2
    assert attacker("POST", f"{path}/seal", json={}).status_code == 200
    assert insider("GET", f"{path}/snapshot").json() == before


def test_a_session_cannot_be_hijacked_by_another_end_user(victim: Victim, insider: Attacker) -> None:
    with untouched(victim.tenant):
        assert_refused(insider("POST", f"/api/v1/sessions?user_id=bob&session_id={victim.session}"), 409)
        turn = {"user_message": "I am dana", "assistant_response": "Hello", "user_id": "bob"}
        assert_refused(insider("POST", f"/api/v1/sessions/{victim.session}/ingest", json=turn), 409)
        batch = {"turns": [turn], "user_id": "bob"}
        assert_refused(insider("POST", f"/api/v1/sessions/{victim.session}/ingest", json=batch), 409)


def test_an_id_does_not_help_past_the_end_user_that_a_request_names(victim: Victim, insider: Attacker) -> None:
    with untouched(victim.tenant):
        for method, path, body in by_id(victim.capsule, victim.session, victim.event):
            if method == "POST":
                answer = insider(method, path, json=body | {"user_id": "mallory"})
            else:
                answer = insider(method, f"{path}{'&' if '?' in path else '?'}user_id=mallory", json=body)
            assert_refused(answer, 404)
            assert SECRET_FACT not in answer.text
        ids = {"capsule_ids": [victim.capsule, victim.second], "user_id": "mallory"}
        assert_refused(insider("POST", "/api/v1/capsules/merge", json=ids), 400)
    assert insider("GET", f"/api/v1/capsules/{victim.capsule}?user_id=dana").status_code == 200
    assert insider("GET", f"/api/v1/sessions/{victim.session}/snapshot?user_id=dana").status_code == 200


def test_pending_triggers_are_those_of_the_named_end_user_alone(victim: Victim, insider: Attacker) -> None:
    path = "/api/v1/capsules/pending-triggers?user_id="
    assert insider("GET", path + "mallory").json() == {"triggers": [], "count": 0}
    assert [one["event_id"] for one in insider("GET", path + "dana").json()["triggers"]] == [victim.event]


def test_an_import_takes_nobodys_place(victim: Victim, insider: Attacker, http: httpx.Client) -> None:
    file = insider("GET", f"/api/v1/capsules/{victim.capsule}/export").content
    elsewhere = Attacker(http, make_tenant().secret)
    for thief, renamed in ((insider, True), (elsewhere, False)):
        taken = thief("POST", "/api/v1/capsules/import", files={"file": ("c.json", file)}, data={"user_id": "mallory"})
        assert taken.status_code == 200
        assert taken.json()["is_renamed"] is renamed
    original = insider("GET", f"/api/v1/capsules/{victim.capsule}").json()
    assert original["identity"]["user_id"] == "dana"
    assert elsewhere("GET", f"/api/v1/capsules/{victim.capsule}").json()["identity"]["user_id"] == "mallory"


@pytest.mark.parametrize("change", ["facts", "checksum", "id", "encrypted"])
def test_a_tampered_file_is_refused(victim: Victim, insider: Attacker, change: str) -> None:
    document = json.loads(insider("GET", f"/api/v1/capsules/{victim.capsule}/export").content)
    if change == "facts":
        document["payload"]["facts"][0]["value"] = "EVIL"
    elif change == "checksum":
        document["integrity"]["checksum"] = "0" * 64
    elif change == "id":
        document["capsule_id"] = "../../etc/passwd"
    else:
        document["integrity"]["encrypted"] = True
    with untouched(victim.tenant):
        answer = insider("POST", "/api/v1/capsules/import", files={"file": ("c.json", json.dumps(document).encode())})
        assert_refused(answer, 400)


TRAVERSALS = ["..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/x", "....//x", "..\\x", "/etc/passwd"]


@pytest.mark.parametrize("trick", TRAVERSALS)
def test_no_id_is_a_path(victim: Victim, insider: Attacker, trick: str) -> None:
    with untouched(victim.tenant):
        for method, path, _ in by_id(trick, trick, trick):
            status, headers, body = insider.raw(method, path, b"Content-Type: application/json", body=b'{"tags": []}')
            assert status in {400, 404, 405, 422}, (method, path, status, body)
            assert headers["content-type"] == "application/json"
            assert b"root:" not in body
        for pair in ([trick, trick + "x"], [victim.capsule, trick]):
            assert_refused(insider("POST", "/api/v1/capsules/merge", json={"capsule_ids": pair}), 400)


def test_a_users_name_that_looks_like_a_path_is_a_name(insider: Attacker) -> None:
    for name in ("..", "../../x", "ada@example.com", "auth0|5f7", "/etc/passwd", "名前"):
        turn = {"user_message": "I like tea", "assistant_response": "Noted", "user_id": name}
        session = f"s-{name.encode().hex()}"
        assert insider("POST", f"/api/v1/sessions/{session}/ingest", json=turn).status_code == 200
        assert insider("POST", f"/api/v1/sessions/{session}/seal", json={}).status_code == 200
        assert len(insider("GET", "/api/v1/capsules", params={"user_id": name}).json()) == 1


@pytest.mark.parametrize(
    "query",
    [
        "encrypt=true",
        "encrypt=true&passphrase=",
        "encrypt=true&passphrase=short",
        "encrypt=1&passphrase=long-enough&format=universal",
        "encrypt=yes&passphrase=long-enough&format=prompt",
        "format=nope",
        "format=JSON",
        "encrypt=maybe",
    ],
)
def test_no_export_is_plain_that_was_asked_for_encrypted(victim: Victim, insider: Attacker, query: str) -> None:
    with untouched(victim.tenant):
        answer = insider("GET", f"/api/v1/capsules/{victim.capsule}/export?{query}")
        assert_refused(answer, 400, 422)
        assert SECRET_FACT not in answer.text


def test_an_expired_capsule_is_gone_everywhere(victim: Victim, insider: Attacker) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    [expired] = store(victim.tenant, memory("an old pin is 0815", user_id="eve", expires_at=past))
    assert insider("GET", "/api/v1/capsules?user_id=eve").json() == []
    assert [user["user_id"] for user in insider("GET", "/api/v1/users").json()["users"]] == ["dana"]
    assert insider("GET", "/api/v1/recall?query=old+pin&user_id=eve").json()["sources"] == []
    with untouched(victim.tenant):
        for method, path, body in by_id(expired, "no such session", victim.event):
            assert_refused(insider(method, path, json=body), 404)


@pytest.mark.parametrize(
    ("method", "target", "header", "body", "status"),
    [
        ("GET", "/api/v1/capsules", "Authorization: Bearer schlüssel", b"", 401),
        ("GET", "/api/v1/capsules", "Authorization: Bearer \xff\xfe", b"", 401),
        ("GET", "/api/v1/capsules?type=nope", "X-A: b", b"", 422),
        ("POST", "/api/v1/sessions/s/ingest", "X-A: b", b'{"user_message": 7, "assistant_response": "x"}', 422),
        ("POST", "/api/v1/sessions/s/seal", "X-A: b", b'{"facts": [7]}', 422),
        ("POST", "/api/v1/sessions/s/seal", "X-A: b", b'{"facts": [{"value": "x", "confidence": "high"}]}', 422),
        ("POST", "/api/v1/sessions/danas/seal", "X-A: b", b'{"facts": [{"value": "x", "category": "nope"}]}', 400),
    ],
)
def test_what_crashes_the_engines_server_is_a_refusal_here(
    victim: Victim, insider: Attacker, method: str, target: str, header: str, body: bytes, status: int
) -> None:
    with untouched(victim.tenant):
        found, headers, content = insider.raw(method, target, header.encode("latin-1"), body=body)
    assert (found, headers["content-type"]) == (status, "application/json"), content
