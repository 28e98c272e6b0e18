"""Writes that found a cap are kept, and happen exactly once and in order when it lifts."""

import multiprocessing
import os
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from billing.quotas import applying, parking, services
from billing.quotas.leases import leases
from billing.quotas.models import ParkedWrite
from capsule_cloud.lib import crypto
from capsule_cloud.memory.models import Capsule, Session, Turn
from capsule_cloud.memory.services import sessions
from tenancy.access import reset_key_cache
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import NotFound
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit, used
from tests.factories import Tenant, make_tenant
from tests.threads import at_once


def allow(tenant: Tenant, amount: int, reaction: str = "park") -> None:
    """Let the tenant's organization have so many operations; at the cap writes are parked."""
    with scope(tenant.organization):
        Organization.objects.update(features=["mcp", "parked_writes"])
        services.set_cap(
            actor=tenant.actor,
            allowance="operations",
            level="organization",
            subject_id=tenant.organization.pk,
            amount=amount,
            reaction=reaction,
        )
    reset_key_cache()


class Api:
    """The tenant's key at work."""

    def __init__(self, tenant: Tenant) -> None:
        self.http = Client(headers=tenant.headers, raise_request_exception=False)

    def ingest(self, word: str, session: str = "s1", **more: Any) -> Any:
        """Send one turn."""
        body = {"user_message": word, "assistant_response": "Noted."} | more
        return self.http.post(f"/api/v1/sessions/{session}/ingest", body, content_type="application/json")

    def load(self, content: bytes = b"I like tea.", name: str = "tea.txt", **more: Any) -> Any:
        """Import a file."""
        return self.http.post("/api/v1/capsules/import", {"file": SimpleUploadedFile(name, content)} | more)

    def seal(self, session: str = "s1", **body: Any) -> Any:
        """Seal a session."""
        return self.http.post(f"/api/v1/sessions/{session}/seal", body, content_type="application/json")


@pytest.fixture
def api(tenant: Tenant) -> Api:
    """The tenant's key."""
    return Api(tenant)


def said(tenant: Tenant, session: str = "s1") -> list[str]:
    """The questions of a session, in order."""
    with scope(tenant.organization):
        turns = Turn.objects.filter(session__external_id=session, role="user").order_by("number")
        return [turn.content for turn in turns]


def states(tenant: Tenant) -> list[str]:
    """Of the parked writes, in order."""
    with scope(tenant.organization):
        return list(ParkedWrite.objects.order_by("number").values_list("state", flat=True))


def test_a_parked_turn_is_kept_and_happens_when_the_cap_lifts(tenant: Tenant, api: Api) -> None:
    allow(tenant, 1)
    assert api.ingest("first").status_code == 200
    kept = api.ingest("second")
    assert kept.status_code == 202
    answer = kept.json()
    assert {name: answer[name] for name in ("turn_id", "session_id", "total_turns", "is_parked")} == {
        "turn_id": 0,
        "session_id": "s1",
        "total_turns": 0,
        "is_parked": True,
    }
    assert "X-Usage-Event" not in kept.headers, "nothing is counted yet"
    assert applying.apply_due() == 0, "the cap still holds"
    assert said(tenant) == ["first"]
    allow(tenant, 10)
    assert applying.apply_due() == 1
    assert applying.apply_due() == 0
    assert said(tenant) == ["first", "second"]
    assert used(tenant) == 2
    with scope(tenant.organization):
        write = ParkedWrite.objects.get(pk=answer["parked_id"])
        assert UsageEvent.objects.filter(meter=Meter.INGEST).count() == 2
        assert AuditEvent.objects.filter(action=actions.WRITE_PARKED.name).count() == 1
    assert (write.state, write.outcome, bytes(write.sealed_body)) == ("applied", {"turn_id": 3, "total_turns": 4}, b"")


def test_later_writes_wait_behind_earlier_ones(tenant: Tenant, api: Api) -> None:
    allow(tenant, 0)
    assert [api.ingest(word).status_code for word in ("one", "two")] == [202, 202]
    allow(tenant, 100)
    assert api.ingest("three").status_code == 202, "it may not overtake"
    assert api.http.get("/api/v1/recall", {"query": "one"}).status_code == 200
    assert applying.apply_due() == 3
    assert api.ingest("four").status_code == 200
    assert said(tenant) == ["one", "two", "three", "four"]


def test_they_wait_whatever_the_customer_chooses_meanwhile(tenant: Tenant, api: Api) -> None:
    allow(tenant, 0)
    api.ingest("one")
    allow(tenant, 0, "stop")
    assert api.ingest("two").status_code == 202
    allow(tenant, 5, "warn")
    assert applying.apply_due() == 2
    assert said(tenant) == ["one", "two"]


def test_a_seal_is_parked_behind_its_turns(tenant: Tenant, api: Api) -> None:
    allow(tenant, 0)
    assert api.seal().status_code == 404, "nobody knows the session"
    api.ingest("one", user_id="dana")
    assert api.seal(user_id="erin").status_code == 404
    kept = api.seal(title="Tea", user_id="dana")
    assert (kept.status_code, kept.json()["title"], kept.json()["is_parked"]) == (202, "Tea", True)
    allow(tenant, 5)
    assert applying.apply_due() == 2
    with scope(tenant.organization):
        assert Capsule.objects.get().title == "Tea"
        meters = sorted(UsageEvent.objects.values_list("meter", "end_user"))
    assert meters == [("ingest", "dana"), ("seal", "dana")]


def test_an_import_is_parked_and_happens_once(tenant: Tenant, api: Api) -> None:
    allow(tenant, 0)
    api.ingest("one")
    kept = api.load(user_id="dana")
    assert (kept.status_code, kept.json()["capsule_id"], kept.json()["is_parked"]) == (202, "", True)
    assert "X-Usage-Event" not in kept.headers, "nothing is counted yet"
    with scope(tenant.organization):
        write = ParkedWrite.objects.get(pk=kept.json()["parked_id"])
        assert b"tea" not in bytes(write.sealed_body)
        assert not Capsule.objects.exists()
    allow(tenant, 5)
    assert applying.apply_due() == 2
    assert applying.apply_due() == 0
    with scope(tenant.organization):
        made = Capsule.objects.get()
        write.refresh_from_db()
        told = list(UsageEvent.objects.filter(meter=Meter.IMPORT).values_list("end_user", "quantity"))
        assert AuditEvent.objects.filter(action=actions.MEMORY_CAPSULE_IMPORTED.name).count() == 1
    assert (made.user_id, made.title, told) == ("dana", "tea", [("dana", 1)])
    assert (write.outcome["capsule_id"], bytes(write.sealed_body)) == (made.capsule_id, b"")
    assert used(tenant) == 2


def test_an_encrypted_import_waits_without_its_passphrase(tenant: Tenant, api: Api) -> None:
    allow(tenant, 100)
    own = api.load(b"My secret tea.").json()["capsule_id"]
    headers = {"X-Passphrase": "long-enough-phrase"}
    file = api.http.get(f"/api/v1/capsules/{own}/export", {"encrypt": "true"}, headers=headers)
    allow(tenant, 0)
    form = {"file": SimpleUploadedFile("own.json", file.content), "signature": file.headers["X-Capsule-Signature"]}
    assert (
        api.http.post("/api/v1/capsules/import", form, headers={"X-Passphrase": "the-wrong-phrase"}).status_code == 400
    )
    assert api.http.post("/api/v1/capsules/import", form | {"signature": "x"}, headers=headers).status_code == 400
    form["file"] = SimpleUploadedFile("own.json", file.content)
    assert api.http.post("/api/v1/capsules/import", form, headers=headers).status_code == 202
    with scope(tenant.organization):
        write = ParkedWrite.objects.get()
    assert b"long-enough-phrase" not in crypto.unseal(write.sealed_body)
    allow(tenant, 100)
    assert applying.apply_due() == 1


def test_an_import_that_would_be_refused_is_not_kept(tenant: Tenant, api: Api) -> None:
    allow(tenant, 0)
    assert api.load(b"{", "broken.json").status_code == 400
    assert api.load(b"x" * (10 * 2**20 + 1)).status_code == 413
    assert api.load(user_id="x" * 256).status_code == 422
    assert states(tenant) == []
    allow(tenant, 0, "stop")
    assert api.load().status_code == 402
    assert states(tenant) == []


def test_a_parked_batch_happens_whole_or_not_at_all(tenant: Tenant, api: Api) -> None:
    allow(tenant, 2)
    pair = {"user_message": "tea", "assistant_response": "Noted."}
    assert api.ingest("", turns=[pair] * 3).status_code == 202, "two would fit"
    assert api.ingest("one").status_code == 202, "it may not overtake"
    assert (applying.apply_due(), said(tenant)) == (0, [])
    allow(tenant, 4)
    assert applying.apply_due() == 2
    assert said(tenant) == ["tea"] * 3 + ["one"]
    assert used(tenant) == 4


def test_as_much_happens_as_the_cap_lets(tenant: Tenant, api: Api) -> None:
    allow(tenant, 0)
    for word in ("one", "two", "three"):
        api.ingest(word)
    allow(tenant, 2)
    assert applying.apply_due() == 2
    assert (said(tenant), states(tenant)) == (["one", "two"], ["applied", "applied", "parked"])
    assert used(tenant) == 2


def test_what_would_be_refused_is_not_kept(tenant: Tenant, api: Api) -> None:
    allow(tenant, 1)
    api.ingest("one", user_id="dana")
    assert api.ingest("two", user_id="erin").status_code == 409
    assert api.ingest("").status_code == 400
    assert api.ingest("x" * (256 * 1024 + 1)).status_code == 413
    assert api.seal(title="x" * 3000).status_code == 413
    assert states(tenant) == []


def test_a_stopping_cap_refuses_and_keeps_nothing(tenant: Tenant, api: Api) -> None:
    allow(tenant, 0, "stop")
    assert api.ingest("one").status_code == 402
    assert states(tenant) == []


def test_what_became_impossible_is_set_aside_and_seen(tenant: Tenant, api: Api) -> None:
    allow(tenant, 1)
    api.ingest("one")
    api.ingest("two")
    api.ingest("other", session="s2")
    with scope(tenant.organization):
        sessions.seal(project_id=tenant.project.pk, session_id="s1", actor=tenant.actor)
    allow(tenant, 5)
    assert applying.apply_due() == 2
    with scope(tenant.organization):
        failed = ParkedWrite.objects.get(state="failed")
        assert AuditEvent.objects.filter(action=actions.PARKED_WRITE_FAILED.name).count() == 1
    assert failed.error == "Session s1 is sealed"
    assert bytes(failed.sealed_body), "its content is not lost"
    assert said(tenant, "s2") == ["other"]
    assert used(tenant) == 2, "it took nothing"


def test_one_that_fails_waits_longer_each_time_and_holds_up_its_own_project_alone(
    tenant: Tenant, stranger: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in (tenant, stranger):
        allow(one, 0)
        Api(one).ingest("one")
        allow(one, 5)
    real = sessions.ingest

    def broken(**values: Any) -> Any:
        if values["organization_id"] == tenant.organization.pk:
            raise ZeroDivisionError
        return real(**values)

    monkeypatch.setattr(sessions, "ingest", broken)
    for attempt in range(1, 11):
        with scope(tenant.organization):
            ParkedWrite.objects.update(due_at=timezone.now())
        with pytest.raises(applying.ParkingFailed):
            applying.apply_due()
        with scope(tenant.organization):
            write = ParkedWrite.objects.get()
        assert (write.attempts, write.due_at > timezone.now()) == (attempt, True)
        assert applying.apply_due() == 0, "not due"
    assert states(tenant) == ["failed"]
    assert said(stranger) == ["one"]


def test_what_could_not_be_applied_can_wait_again_or_be_dropped(tenant: Tenant, stranger: Tenant, api: Api) -> None:
    allow(tenant, 1)
    api.ingest("one")
    kept = [api.ingest(word).json()["parked_id"] for word in ("two", "three")]
    with scope(tenant.organization):
        Session.objects.update(sealed_at=timezone.now())
    allow(tenant, 5)
    applying.apply_due()
    with scope(stranger.organization), pytest.raises(NotFound):
        parking.retry(actor=stranger.actor, write_id=uuid.UUID(kept[0]))
    with scope(tenant.organization):
        Session.objects.update(sealed_at=None)
        parking.retry(actor=tenant.actor, write_id=uuid.UUID(kept[0]))
        parking.drop(actor=tenant.actor, write_id=uuid.UUID(kept[1]))
        with pytest.raises(NotFound):
            parking.retry(actor=tenant.actor, write_id=uuid.UUID(kept[0]))
    applying.apply_due()
    assert said(tenant) == ["one", "two"]
    with scope(tenant.organization), pytest.raises(NotFound):
        parking.drop(actor=tenant.actor, write_id=uuid.UUID(kept[0]))
    for action in (actions.PARKED_WRITE_RETRIED, actions.PARKED_WRITE_DROPPED):
        with scope(tenant.organization):
            assert AuditEvent.objects.filter(action=action.name).count() == 1


def test_a_deleted_end_user_s_writes_do_not_come_back(tenant: Tenant, api: Api) -> None:
    allow(tenant, 0)
    api.ingest("one", user_id="dana")
    api.ingest("two", session="s2", user_id="erin")
    assert api.http.delete("/api/v1/users/dana").status_code == 200
    allow(tenant, 5)
    assert applying.apply_due() == 1
    with scope(tenant.organization):
        assert [session.user_id for session in Session.objects.all()] == ["erin"]


@pytest.fixture
def parked(transactional_db: None) -> Iterator[Tenant]:
    """A committed organization with twelve turns that may be applied."""
    tenant = make_tenant()
    allow(tenant, 0)
    api = Api(tenant)
    for number in range(12):
        assert api.ingest(f"turn {number}").status_code == 202
    allow(tenant, 100)
    yield tenant
    leases.forget(tenant.organization.pk)
    leases.give_back(idle=-1.0)


def test_several_at_once_apply_each_once_and_in_order(parked: Tenant) -> None:
    results = at_once(*[applying.apply_due] * 4)
    while applying.apply_due():
        pass
    assert not [result for result in results if isinstance(result, Exception)]
    assert said(parked) == [f"turn {number}" for number in range(12)]
    assert used(parked) == 12


def _die_after(writes: int, *, is_before: bool) -> None:
    """In a process of its own: apply writes and die by SIGKILL in the middle of one, before or after its effect."""
    real, done = sessions.ingest, iter(range(100))

    def fatal(**values: Any) -> Any:
        is_last = next(done) == writes
        if is_last and is_before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(**values)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    sessions.ingest = fatal
    applying.apply_due()


def test_whoever_is_killed_while_applying_loses_and_doubles_nothing(parked: Tenant) -> None:
    fork = multiprocessing.get_context("fork")
    for writes, is_before in ((0, True), (0, False), (2, False), (3, True), (1, False)):
        connections.close_all()  # a child must not end its parent's connection
        child = fork.Process(target=_die_after, args=(writes,), kwargs={"is_before": is_before})
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    assert said(parked) == [f"turn {number}" for number in range(6)]
    while applying.apply_due():
        pass
    assert said(parked) == [f"turn {number}" for number in range(12)]
    with scope(parked.organization):
        events = UsageEvent.objects.filter(meter=Meter.INGEST)
        assert (events.count(), sum(events.values_list("quantity", flat=True))) == (12, 12)
    assert used(parked) == 12
    limit(parked, None)
