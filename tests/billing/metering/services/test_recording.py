"""A write is counted in its own transaction, once for its id, and nothing but a use becomes an event."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from billing.metering import ids, services
from billing.metering.meters import GAUGES, Meter
from billing.metering.models import UsageEvent
from billing.metering.services import BadUse, Use
from tenancy.scope import NoScope, ScopeError, one_trip, scope
from tests.factories import Tenant

Counting = Callable[..., Use]


def events(tenant: Tenant) -> int:
    """How many events the tenant has."""
    with scope(tenant.organization):
        return UsageEvent.objects.count()


def test_a_write_is_counted_with_it_or_not_at_all(tenant: Tenant, use: Counting) -> None:
    with scope(tenant.organization):
        kept = services.record(use(Meter.SEAL, quantity=3, end_user="dana"))
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            raise_after(lambda: services.record(use(Meter.SEAL)))
        [event] = UsageEvent.objects.all()
    assert (event.pk, event.meter, event.quantity, event.end_user) == (kept, "seal", 3, "dana")
    assert event.written_by > 0, "the roll-up has to add it"


def raise_after(work: Callable[[], Any]) -> None:
    """What a failing write does."""
    work()
    raise ZeroDivisionError


def test_a_write_is_counted_in_the_same_round_trip(tenant: Tenant, use: Counting) -> None:
    call = services.usage_call(use(Meter.INGEST, quantity=2, end_user="dana"))
    [(event_id,)] = one_trip(tenant.organization.pk, call)
    assert one_trip(tenant.organization.pk, call) == [(event_id,)], "the same event, once"
    with scope(tenant.organization):
        event = UsageEvent.objects.get()
    assert (event.pk, event.meter, event.quantity, event.end_user) == (event_id, "ingest", 2, "dana")
    assert event.key_id == tenant.key.pk


def test_an_operation_that_is_tried_again_counts_once(tenant: Tenant, use: Counting, folder: Any) -> None:
    one = use(Meter.SEAL, event_id=uuid7())
    with scope(tenant.organization):
        assert services.record(one) == services.record(one) == one.event_id
    services.spool(one)
    services.ship()
    assert events(tenant) == 1


def test_nothing_is_counted_for_somebody_else(tenant: Tenant, stranger: Tenant, use: Counting) -> None:
    with pytest.raises(NoScope):
        services.record(use())
    with scope(stranger.organization), pytest.raises(ScopeError):
        services.record(use())
    assert events(tenant) == events(stranger) == 0


def of(moment: datetime) -> UUID:
    """An id of that moment."""
    return UUID(int=ids.first(moment).int | uuid7().int & (2**80 - 1))


WRONG: dict[str, Callable[[], dict[str, Any]]] = {
    "negative": lambda: {"quantity": -1},
    "huge": lambda: {"quantity": 2**53},
    "gauge": lambda: {"meter": Meter.SEAT},
    "another kind of id": lambda: {"event_id": uuid4()},
    "an old id": lambda: {"event_id": of(timezone.now() - ids.OLDEST - timedelta(seconds=2))},
    "a coming id": lambda: {"event_id": of(timezone.now() + ids.AHEAD + timedelta(seconds=2))},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_use_is_refused_on_every_way_in(what: str, tenant: Tenant, use: Counting, folder: Any) -> None:
    wrong = use(**WRONG[what]())
    for count in (services.record, services.spool, services.usage_call):
        with scope(tenant.organization), pytest.raises((BadUse, ids.UnacceptableId)):
            count(wrong)
    assert services.ship() == events(tenant) == 0


def test_ids_of_the_window_s_edges_are_taken(tenant: Tenant, use: Counting) -> None:
    now = timezone.now()
    with scope(tenant.organization):
        for moment in (now - ids.OLDEST + timedelta(seconds=10), now + ids.AHEAD - timedelta(seconds=10)):
            services.record(use(event_id=of(moment)))
    assert events(tenant) == 2


MOMENTS = st.datetimes(datetime(1980, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moment=MOMENTS)
def test_an_id_tells_its_moment(moment: datetime) -> None:
    told = ids.minted_at(ids.first(moment))
    assert told <= moment < told + timedelta(milliseconds=1.001)
    assert ids.first(moment) <= of(moment)


def test_no_gauge_is_a_counter() -> None:
    assert {Meter.STORED_BYTES, Meter.END_USER, Meter.SEAT} == GAUGES
