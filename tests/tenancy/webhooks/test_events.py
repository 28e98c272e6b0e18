"""Events: written with what they describe or not at all, once, and for free where nobody listens."""

import threading
import time
from typing import Any

import orjson
import pytest
from django.db import connection, transaction

from tenancy.scope import NoScope, scope
from tenancy.webhooks import catalogue, events
from tenancy.webhooks.models import Event
from tests.factories import Tenant, make_tenant
from tests.tenancy.webhooks.conftest import AddEndpoint, deliveries, happen
from tests.threads import at_once

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


def test_an_organization_without_endpoints_pays_one_question(tenant: Tenant, django_assert_num_queries: Any) -> None:
    with scope(tenant.organization):
        with django_assert_num_queries(1):
            assert events.emit(catalogue.PLAN_CHANGED, data={}, key="x") == 0
        assert not Event.objects.exists()


@pytest.fixture
def seen(transactional_db: None) -> Tenant:
    """An organization that other connections see."""
    return make_tenant()


def test_what_commits_after_an_endpoint_was_made_is_told_to_it(seen: Tenant, add: AddEndpoint) -> None:
    """A write that asked before there was an endpoint must not commit after it: making one waits for the write."""
    order: list[str] = []
    has_asked, is_made = threading.Event(), threading.Event()

    def write() -> None:
        with scope(seen.organization):
            assert events.emit(catalogue.PLAN_CHANGED, data={"before": "free", "after": "pro"}, key="early") == 0
            has_asked.set()
            end = time.monotonic() + 20
            with connection.cursor() as cursor:
                while not waiting(cursor):
                    assert not is_made.is_set() and time.monotonic() < end, "it did not wait"  # noqa: PT018
            order.append("written")

    def make() -> None:
        assert has_asked.wait(20)
        add(seen, URL)
        is_made.set()
        order.append("made")

    assert at_once(write, make) == [None, None]
    assert order == ["written", "made"]
    happen(seen)
    assert [one.event.type for one in deliveries(seen)] == ["memory.session.sealed"]


def waiting(cursor: Any) -> int:
    """How many transactions wait for a lock that this one holds."""
    cursor.execute(
        "SELECT count(*) FROM pg_locks l WHERE NOT l.granted AND pg_backend_pid() = ANY (pg_blocking_pids(l.pid))"
    )
    [(count,)] = cursor.fetchall()
    return int(count)


def test_writes_and_endpoints_at_once_miss_nothing(seen: Tenant, add: AddEndpoint) -> None:
    """Every write that began after an endpoint's creation had returned is told to it, whoever writes."""
    made_at: list[float] = []
    began_at: dict[str, float] = {}

    def make() -> None:
        add(seen, URL)
        made_at.append(time.monotonic())

    def write(number: int) -> None:
        for turn in range(10):
            began_at[f"{number}-{turn}"] = time.monotonic()
            happen(seen, 1, f"{number}-{turn}")

    results = at_once(make, *[lambda number=number: write(number) for number in range(7)])
    assert not [one for one in results if isinstance(one, Exception)]
    told = {orjson.loads(one.event.body)["data"]["session_id"].removesuffix("-0") for one in deliveries(seen)}
    assert {key for key, at in began_at.items() if at > made_at[0]} <= told


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
