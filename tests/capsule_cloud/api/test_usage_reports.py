"""Data planes that run elsewhere report what they counted, and it counts once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
from django.db import connection
from django.utils import timezone

from billing import plans
from billing.metering import services
from billing.metering.models import ReportedEvent, UsageEvent
from billing.metering.services import reports
from billing.models import EntitlementOverride, Status, Subscription
from billing.plans import Feature
from billing.services import entitlements
from tenancy import access
from tenancy.audit.services import SYSTEM
from tenancy.models import Organization
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant


def with_data_planes(tenant: Tenant) -> Api:
    """The API for an organization whose plan has data planes of its own."""
    with scope(tenant.organization):
        tomorrow = timezone.now() + timedelta(days=1)
        entitlements.grant_override(
            actor=SYSTEM, key="feature:data_planes", value=True, reason="A pilot", expires_at=tomorrow
        )
    access.reset_key_cache()
    return Api(tenant)


@pytest.fixture
def plane(tenant: Tenant) -> Api:
    return with_data_planes(tenant)


def event(name: str = "1", *, meter: str = "recall", quantity: Any = 3, use: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": "capsule.usage",
        "source": "//plane-1",
        "id": name,
        "time": timezone.now().isoformat(),
        "data": {"meter": meter, "quantity": quantity} | (use or {}),
    } | more


def report(api: Api, *events: Any) -> Any:
    answer = api.post("/v1/usage/events", list(events))
    assert answer.status_code == 200, answer.content
    return answer.json()


def counted(api: Api) -> dict[str, int]:
    return {point["meter"]: point["quantity"] for point in api.get("/v1/usage").json()["data"]}


def test_what_is_reported_is_counted_when_it_happened(plane: Api) -> None:
    earlier = timezone.now() - timedelta(days=3)
    answer = report(plane, event(time=earlier.isoformat(), use={"end_user": "ada"}), event("2", meter="ingest"))
    assert (answer["accepted"], answer["duplicate"], answer["rejected"]) == (2, 0, 0)
    assert counted(plane) == {"recall": 3, "ingest": 3}
    with scope(plane.tenant.organization):
        found = UsageEvent.objects.get(pk=answer["results"][0]["event_id"])
    assert (found.occurred_at, found.end_user) == (earlier, "ada")
    assert (found.project_id, found.key_id) == (plane.tenant.project.pk, plane.tenant.key.pk)


def test_the_answer_says_what_is_left(plane: Api) -> None:
    with scope(plane.tenant.organization):
        Organization.objects.update(operation_limit=10, document_limit=None)
    answer = plane.post("/v1/usage/events", [event(quantity=4)])
    assert answer.json()["remaining"] == {"operations": 6, "documents": None, "end_users": 1_000}
    assert answer.headers["X-Quota-Remaining"] == "6"
    assert report(plane, event("2", quantity=400))["remaining"]["operations"] == 0
    said = {"user_message": "Tea?", "assistant_response": "Noted."}
    refused = plane.post("/api/v1/sessions/s/ingest", said)
    assert (refused.status_code, refused.headers["X-Error-Code"]) == (402, "quota_reached")
    assert counted(plane) == {"recall": 404}, "it has happened"


@pytest.mark.parametrize("closed", [Organization.Access.READ_ONLY, Organization.Access.SUSPENDED])
def test_what_has_happened_is_reported_whatever_is_unpaid(plane: Api, closed: str) -> None:
    with scope(plane.tenant.organization):
        Organization.objects.update(access=closed)
    access.reset_key_cache()
    said = {"user_message": "Tea?", "assistant_response": "Noted."}
    assert plane.post("/api/v1/sessions/s/ingest", said).headers["X-Error-Code"] == "billing_restricted"
    assert report(plane, event(), event("2", meter="ingest"))["accepted"] == 2
    assert counted(plane) == {"recall": 3, "ingest": 3}


def test_the_same_batch_twice_counts_once(plane: Api) -> None:
    batch = [event("1"), event("2"), event("1", quantity=900)]
    first, second = report(plane, *batch), report(plane, *batch)
    assert [one["status"] for one in first["results"]] == ["accepted", "accepted", "duplicate"]
    assert second["duplicate"] == 3
    assert [one["event_id"] for one in first["results"]] == [one["event_id"] for one in second["results"]]
    assert counted(plane) == {"recall": 6}
    assert report(plane, event("1", source="//plane-2"))["accepted"] == 1, "another source's name is another event"


def test_eight_who_report_the_same_count_it_once(transactional_db: None) -> None:
    plane = with_data_planes(make_tenant())
    batch = [event(str(n)) for n in range(20)]

    def send(n: int) -> Any:
        try:
            return report(plane, *(batch if n % 2 else reversed(batch)))
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert sum(answer["accepted"] for answer in answers) == 20
    assert sum(answer["duplicate"] for answer in answers) == 140
    services.roll_up()
    with scope(plane.tenant.organization):
        assert sum(UsageEvent.objects.values_list("quantity", flat=True)) == 60
    assert counted(plane) == {"recall": 60}


def test_a_crash_leaves_neither_the_name_nor_the_event(plane: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crash(Exception):
        pass

    def crash(*args: Any, **kwargs: Any) -> None:
        raise Crash

    with monkeypatch.context() as broken:
        broken.setattr(reports, "Taken", crash)  # the last thing before the commit
        assert plane.post("/v1/usage/events", [event()]).status_code == 500
    with scope(plane.tenant.organization):
        assert (ReportedEvent.objects.count(), UsageEvent.objects.count()) == (0, 0)
    assert report(plane, event())["accepted"] == 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"time": (timezone.now() - timedelta(days=36)).isoformat()}, "time"),
        ({"time": (timezone.now() + timedelta(days=1)).isoformat()}, "time"),
        ({"time": None}, "time"),
        ({"specversion": "0.3"}, "specversion"),
        ({"type": "other"}, "type"),
        ({"id": ""}, "id"),
        ({"source": "x" * 256}, "source"),
        ({"source": "a\0b"}, "source"),
        ({"meter": "stored_bytes"}, "data.meter"),
        ({"meter": "electricity"}, "data.meter"),
        ({"quantity": 0}, "data.quantity"),
        ({"quantity": 10**18}, "data.quantity"),
        ({"use": {"end_user": "x" * 256}}, "data.end_user"),
        ({"use": {"project_id": str(uuid4())}}, "data.project_id"),
        ({"data": 7}, "data.non_field_errors"),
    ],
)
def test_a_wrong_event_is_rejected_by_itself(plane: Api, wrong: dict[str, Any], field: str) -> None:
    answer = report(plane, event("bad", **wrong), event("good"))
    assert [one["status"] for one in answer["results"]] == ["rejected", "accepted"]
    assert answer["results"][0]["errors"][0]["field"] == field
    assert counted(plane) == {"recall": 3}


@pytest.mark.parametrize("body", [{}, [], event(), [event(str(n)) for n in range(501)]])
def test_what_is_no_batch_is_refused_whole(plane: Api, body: Any) -> None:
    assert plane.post("/v1/usage/events", body).json()["code"] == "invalid"
    assert counted(plane) == {}


def test_a_thing_that_is_no_event_is_rejected(plane: Api) -> None:
    assert report(plane, 7, None, [], {})["rejected"] == 4


def test_the_batch_format_of_cloudevents_is_understood(plane: Api) -> None:
    sent = orjson.dumps([event()])
    kind = "application/cloudevents-batch+json; charset=utf-8"
    answer = plane.client.post("/v1/usage/events", sent, content_type=kind, headers=plane.tenant.headers)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)


def test_a_plan_without_data_planes_may_not_report(api: Api) -> None:
    answer = api.post("/v1/usage/events", [event()])
    assert (answer.status_code, answer.json()["code"]) == (403, "feature_not_in_plan")
    detail = answer.json()["detail"]
    assert "Keep the events: once the plan is changed, those of the 35 days before are taken." in detail
    assert detail.endswith(f"/o/{api.tenant.organization.slug}/billing/plan/")
    assert counted(api) == {}


def end_plan(api: Api) -> None:
    """Let the organization be on the free plan, which has no data planes."""
    with scope(api.tenant.organization):
        for granted in EntitlementOverride.objects.filter(ended_at=None):
            entitlements.end_override(actor=SYSTEM, override_id=granted.pk)
        assert "data_planes" not in Organization.objects.get().features
    access.reset_key_cache()


def test_what_data_planes_hold_is_taken_after_their_plan_has_ended(plane: Api) -> None:
    report(plane, event())
    end_plan(plane)
    assert report(plane, event("late"))["accepted"] == 1
    assert counted(plane) == {"recall": 6}


def test_a_data_plane_that_has_never_reported_may_after_its_plan_has_ended(plane: Api) -> None:
    end_plan(plane)
    assert report(plane, event())["accepted"] == 1, "it was granted once"


def test_a_plan_that_was_bought_lets_its_data_planes_report_for_good(api: Api) -> None:
    now = timezone.now()
    with scope(api.tenant.organization):
        for key in ("pro", "scale"):
            bought = plans.current(key)
            Subscription.objects.create(
                plan_key=key,
                plan_version=bought.version,
                status=Status.CANCELED,
                period_start=now - timedelta(days=30),
                period_end=now,
                ended_at=now,
            )
            answer = api.post("/v1/usage/events", [event()])
            has_them = Feature.DATA_PLANES in bought.features
            assert (answer.status_code == 200) == has_them, key
    assert counted(api) == {"recall": 3}


def test_two_organizations_may_use_the_same_names(plane: Api, stranger: Tenant) -> None:
    assert report(plane, event())["accepted"] == report(with_data_planes(stranger), event())["accepted"] == 1
    assert counted(plane) == {"recall": 3}


def test_a_name_is_forgotten_after_90_days_and_the_event_stays(plane: Api) -> None:
    report(plane, event("old"), event("new"))
    with scope(plane.tenant.organization):
        ReportedEvent.objects.filter(name="old").update(reported_at=timezone.now() - timedelta(days=91))
    assert reports.forget_old() >= 1
    with scope(plane.tenant.organization):
        assert list(ReportedEvent.objects.values_list("name", flat=True)) == ["new"]
        assert UsageEvent.objects.count() == 2
