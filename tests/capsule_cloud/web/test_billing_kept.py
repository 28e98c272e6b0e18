"""Kept writes on a page and by the API: listed without what they say, tried again, dropped."""

import uuid

import pytest
from django.test import Client
from django.utils import timezone

from billing.quotas import applying
from billing.quotas.models import ParkedWrite
from capsule_cloud.memory.models import Session, Turn
from tenancy.scope import scope
from tests.billing.quotas.test_parking import Api, allow
from tests.capsule_cloud.web.conftest import Page
from tests.factories import Tenant


@pytest.fixture
def kept(tenant: Tenant) -> list[str]:
    """The ids of two turns for alice that could not be applied, and of one that waits."""
    allow(tenant, 1)
    api = Api(tenant)
    api.ingest("one", user_id="alice")
    ids = [api.ingest(word).json()["parked_id"] for word in ("two", "three")]
    with scope(tenant.organization):
        Session.objects.update(sealed_at=timezone.now())
    allow(tenant, 5)
    applying.apply_due()
    allow(tenant, 1)
    return [*ids, api.ingest("four", session="s2").json()["parked_id"]]


def said(tenant: Tenant) -> list[str]:
    with scope(tenant.organization):
        return list(Turn.objects.filter(role="user").order_by("said_at").values_list("content", flat=True))


def states(tenant: Tenant) -> dict[str, str]:
    with scope(tenant.organization):
        return {str(pk): state for pk, state in ParkedWrite.objects.values_list("pk", "state")}


def test_the_page_teaches_what_would_wait_there(page: Page) -> None:
    assert "Nothing waits" in page("billing/caps/kept/")
    assert "Nothing is set aside" in page("billing/caps/kept/?state=failed")


@pytest.mark.parametrize("query", ["state=applied", "state=x", "after=-1", "after=x", f"after={'9' * 30}", "after=²"])
def test_what_the_page_does_not_know_is_not_found(page: Page, query: str) -> None:
    page(f"billing/caps/kept/?{query}", status=404)


def test_what_waits_and_what_was_set_aside_are_listed_without_what_they_say(
    tenant: Tenant, kept: list[str], page: Page
) -> None:
    waiting, aside = page("billing/caps/kept/"), page("billing/caps/kept/?state=failed")
    assert ("Waiting (1)" in waiting, "Set aside (2)" in aside) == (True, True)
    assert ("s2" in waiting, "is sealed" in aside) == (True, True)
    for text in (waiting, aside):
        assert not [word for word in ("two", "three", "four") if f">{word}<" in text]
    http = Client(headers=tenant.headers)
    listed = http.get("/v1/billing/parked?state=failed&limit=1").json()
    assert [one["id"] for one in listed["data"]] == kept[:1]
    rest = http.get(f"/v1/billing/parked?state=failed&limit=1&cursor={listed['next_cursor']}").json()
    assert ([one["id"] for one in rest["data"]], rest["next_cursor"]) == (kept[1:2], None)
    assert [one["id"] for one in http.get("/v1/billing/parked").json()["data"]] == kept[2:]
    assert http.get("/v1/billing/parked?cursor=x").json()["code"] == "invalid_cursor"


def test_what_was_set_aside_is_tried_again_or_dropped_on_the_page(tenant: Tenant, kept: list[str], post: Page) -> None:
    assert "waits again" in post(f"billing/caps/kept/{kept[0]}/retry/")
    assert "never happens" in post(f"billing/caps/kept/{kept[1]}/drop/")
    post(f"billing/caps/kept/{kept[1]}/drop/", status=404)
    assert states(tenant)[kept[0]] == "parked"
    with scope(tenant.organization):
        Session.objects.update(sealed_at=None)
    allow(tenant, 9)
    applying.apply_due()
    assert sorted(said(tenant)) == ["four", "one", "two"]


def test_what_was_set_aside_is_tried_again_or_dropped_by_the_api(tenant: Tenant, kept: list[str]) -> None:
    http = Client(headers=tenant.headers)
    again = http.post(f"/v1/billing/parked/{kept[0]}/retry")
    assert (again.status_code, again.json()["state"]) == (200, "parked")
    assert http.post(f"/v1/billing/parked/{kept[2]}/retry").status_code == 404, "it waits already"
    assert http.delete(f"/v1/billing/parked/{kept[2]}").status_code == 204
    assert http.delete(f"/v1/billing/parked/{uuid.uuid4()}").status_code == 404
    assert states(tenant) == {kept[0]: "parked", kept[1]: "failed"}
