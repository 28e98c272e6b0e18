"""Events: written with what they describe or not at all, once, and for free where nobody listens."""

import time
from typing import Any

import orjson
import pytest
from django.db import transaction

from tenancy.scope import NoScope, scope
from tenancy.webhooks import catalogue, events
from tenancy.webhooks.models import Event
from tests.factories import Tenant
from tests.tenancy.webhooks.conftest import AddEndpoint, deliveries, happen

URL = "https://hooks.example.com/"


def test_an_event_is_undone_with_what_it_describes(tenant: Tenant, add: AddEndpoint) -> None:
    add(tenant, URL)

    def fail() -> None:
        with transaction.atomic():
            happen(tenant)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert deliveries(tenant) == []
    happen(tenant)
    assert len(deliveries(tenant)) == 1


def test_the_same_key_is_the_same_event(tenant: Tenant, stranger: Tenant, add: AddEndpoint) -> None:
    for one in (tenant, stranger):
        add(one, URL)
        happen(one)
        happen(one)
        assert len(deliveries(one)) == 1


def test_two_endpoints_are_one_statement_more_for_nobody(
    tenant: Tenant, add: AddEndpoint, django_assert_num_queries: Any
) -> None:
    for _ in range(2):
        add(tenant, URL)
    with scope(tenant.organization), django_assert_num_queries(2):  # is there an endpoint; the event and its deliveries
        events.emit(catalogue.PLAN_CHANGED, data={"before": "free", "after": "pro"}, key="x")
    assert len(deliveries(tenant)) == 2


def test_an_organization_without_endpoints_pays_nothing(tenant: Tenant, django_assert_num_queries: Any) -> None:
    happen(tenant)
    with scope(tenant.organization):
        with django_assert_num_queries(0):
            for n in range(100):
                assert events.emit(catalogue.PLAN_CHANGED, data={}, key=str(n)) == 0
        assert not Event.objects.exists()


def test_a_first_endpoint_is_noticed_here_at_once_and_elsewhere_in_seconds(
    tenant: Tenant, add: AddEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    happen(tenant)
    add(tenant, URL)
    happen(tenant)
    assert len(deliveries(tenant)) == 1
    events._silent[tenant.organization.pk] = time.monotonic() - events.KNOWN_SECONDS  # as another process has it
    happen(tenant, 1, "later")
    assert len(deliveries(tenant)) == 2


def test_an_event_that_no_endpoint_wants_is_not_kept(tenant: Tenant, add: AddEndpoint) -> None:
    add(tenant, URL, event_types=["billing.*"])
    happen(tenant)
    with scope(tenant.organization):
        assert not Event.objects.exists()


def test_an_event_needs_a_scope() -> None:
    with pytest.raises(NoScope):
        events.emit(catalogue.PLAN_CHANGED, data={"before": "free", "after": "pro"}, key="x")


@pytest.mark.parametrize(
    "data", [{}, {"before": "free"}, {"before": 1, "after": "pro"}, {"before": "", "after": "", "x": 1}]
)
def test_data_that_the_catalogue_does_not_know_are_our_mistake(
    tenant: Tenant, add: AddEndpoint, data: dict[str, Any]
) -> None:
    add(tenant, URL)
    with scope(tenant.organization), pytest.raises(catalogue.Unfit, match=r"billing\.plan\.changed"):
        events.emit(catalogue.PLAN_CHANGED, data=data, key="x")


def test_the_body_says_what_the_documents_say(tenant: Tenant, add: AddEndpoint) -> None:
    add(tenant, URL)
    happen(tenant)
    [sent] = deliveries(tenant)
    body = orjson.loads(sent.event.body)
    assert list(body) == ["id", "type", "timestamp", "api_version", "organization_id", "project_id", "data"]
    assert (body["id"], body["api_version"]) == (str(sent.event.pk), catalogue.VERSION)
    assert body["timestamp"].endswith("Z")
