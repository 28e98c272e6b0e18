"""What a line counts is what its hours and its raw events come to, also after more has come late."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.invoicing import services
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.selectors.explaining import events_of, explain
from billing.invoicing.selectors.invoices import invoice, invoices, line
from billing.metering.meters import Meter
from tenancy.audit.services import SYSTEM
from tenancy.errors import Invalid, NotFound
from tenancy.scope import scope
from tests.billing.invoicing.conftest import CLOSED_AT, END, NEXT, NEXT_CLOSED_AT, PERIOD, START, subscribe, used
from tests.factories import Tenant, make_tenant
from tests.sums import catch_up

METERS = st.sampled_from([Meter.RECALL, Meter.INGEST, Meter.READ, Meter.DOCUMENT, Meter.STORED_BYTES, Meter.SEAT])
EVENTS = st.lists(st.tuples(METERS, st.integers(0, 31 * 24 * 60 - 1), st.integers(1, 10**6)), max_size=12)


def store(tenant: Tenant, events: list[tuple[Meter, int, int]]) -> None:
    """Events by meter, minute of the period and quantity."""
    for meter, minute, quantity in events:
        used(tenant, quantity, START + timedelta(minutes=minute), meter)


def check(found: InvoiceLine) -> None:
    """The sums of the hours and of the raw events are what the line says."""
    explained = explain(found)
    pages = events_of(found, limit=1000)
    by_hour = {(one.meter, one.hour): (one.quantity, one.events) for one in explained.hours}
    for (meter, hour), (quantity, count) in by_hour.items():
        of_hour = [event for event in events_of(found, hour=hour) if event.meter == meter]
        assert (sum(event.quantity for event in of_hour), len(of_hour)) == (quantity, count)
    assert len(pages) == sum(one.events for one in explained.hours)
    is_late_count = found.kind == "adjustment" and found.allowance in {"operations", "documents"}
    assert explained.measured == found.how["measured"] - (found.how["billed"] if is_late_count else 0)
    assert explained.how["used"] == max(explained.how["measured"], explained.how.get("bought", 0))


@given(before=EVENTS, late=EVENTS, is_rolled_up=st.booleans())
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_line_is_the_sum_of_its_hours_and_they_of_their_events(
    before: list[tuple[Meter, int, int]], late: list[tuple[Meter, int, int]], is_rolled_up: bool, transactional_db: None
) -> None:
    tenant = make_tenant()
    subscribe(tenant, seats=3)
    store(tenant, before)
    if is_rolled_up:
        catch_up()
    with scope(tenant.organization):
        services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
    store(tenant, late)
    with scope(tenant.organization):
        services.close_period(actor=SYSTEM, period=NEXT, now=NEXT_CLOSED_AT)
        for found in InvoiceLine.objects.exclude(allowance=""):
            check(found)
        counted = {"recall", "ingest"}
        total = sum(
            explain(found).measured for found in InvoiceLine.objects.filter(allowance="operations", period_start=START)
        )
        assert total == sum(quantity for meter, _, quantity in before + late if meter.value in counted)


def test_events_come_in_pages(committed: Tenant) -> None:
    subscribe(committed)
    ids = sorted(used(committed, 1, START + timedelta(minutes=n)) for n in range(5))
    with scope(committed.organization):
        closed = services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
        found = closed.lines.get(allowance="operations")
        first = events_of(found, limit=3)
        rest = events_of(found, after=first[-1].id, limit=3)
        assert [event.id for event in first + rest] == ids
        assert first[0].end_user == "ada"
        with pytest.raises(Invalid):
            events_of(found, hour=END)


def test_what_was_not_measured_has_no_hours(committed: Tenant) -> None:
    subscribe(committed)
    with scope(committed.organization):
        closed = services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
        found = closed.lines.get(kind="plan")
        assert (explain(found).hours, events_of(found), explain(found).how) == ([], [], {"plan": "pro v1"})
        assert (line(found.pk), invoice(closed.pk), invoices()) == (found, closed, [closed])
        assert [one.place for one in invoice(closed.pk).lines.all()] == [1, 2]


def test_another_s_line_is_not_there(committed: Tenant) -> None:
    subscribe(committed)
    with scope(committed.organization):
        closed: Invoice = services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
        [found] = closed.lines.filter(kind="plan")
    with scope(make_tenant().organization):
        with pytest.raises(NotFound):
            line(found.pk)
        with pytest.raises(NotFound):
            invoice(closed.pk)
