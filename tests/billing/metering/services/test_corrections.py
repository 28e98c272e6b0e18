"""A correction is a counter-event with a reason and an author; the event stays."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageCorrection, UsageEvent
from billing.metering.selectors import totals
from billing.metering.services import BadUse, Use, record
from billing.metering.services.corrections import EventNotFound, correct
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Invalid
from tenancy.scope import scope
from tests.factories import Tenant
from tests.threads import at_once

Counting = Callable[..., Use]


def recorded(tenant: Tenant, use: Use) -> UUID:
    """Count it."""
    with scope(tenant.organization):
        return record(use)


def corrected(tenant: Tenant, event_id: UUID, quantity: int, reason: str = "A test run") -> UsageEvent | None:
    """Correct it as the owner."""
    with scope(tenant.organization):
        return correct(actor=tenant.actor, event_id=event_id, quantity=quantity, reason=reason)


def total(tenant: Tenant) -> int:
    """What today's recalls come to."""
    now = timezone.now()
    with scope(tenant.organization):
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return totals(today, now).meters[Meter.RECALL]


def test_an_event_counts_for_what_it_was_corrected_to(tenant: Tenant, use: Counting) -> None:
    event_id = recorded(tenant, use(quantity=10, end_user="dana"))
    counter = corrected(tenant, event_id, 4)
    assert counter is not None
    assert total(tenant) == 4
    with scope(tenant.organization):
        event = UsageEvent.objects.get(pk=event_id)
        [why] = UsageCorrection.objects.all()
        [told] = AuditEvent.objects.filter(action=actions.USAGE_CORRECTED.name)
    assert event.quantity == 10
    assert (counter.quantity, counter.end_user, counter.occurred_at) == (-6, "dana", event.occurred_at)
    assert (why.pk, why.adjusts, why.quantity, why.reason) == (counter.pk, event_id, -6, "A test run")
    assert why.actor["label"] == tenant.owner.email
    assert (told.target["id"], told.metadata["change"]) == (str(event_id), -6)
    assert str(why) == f"{event_id} -6"


def test_a_correction_can_be_corrected_and_repeated(tenant: Tenant, use: Counting) -> None:
    event_id = recorded(tenant, use(quantity=10))
    for quantity in (0, 0, 7, 12):
        corrected(tenant, event_id, quantity)
        assert total(tenant) == quantity
    assert corrected(tenant, event_id, 12) is None
    with scope(tenant.organization):
        assert UsageCorrection.objects.count() == 3


def test_corrections_at_once_come_to_one_of_them(committed: Tenant, use: Counting) -> None:
    event_id = recorded(committed, use(quantity=10))
    at_once(*[lambda: corrected(committed, event_id, 3)] * 4)
    assert total(committed) == 3


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "a\0b"])
def test_a_correction_says_why(reason: str, tenant: Tenant, use: Counting) -> None:
    event_id = recorded(tenant, use())
    with pytest.raises(Invalid):
        corrected(tenant, event_id, 0, reason)


@pytest.mark.parametrize("quantity", [-1, 2**53])
def test_nothing_counts_for_less_than_nothing(quantity: int, tenant: Tenant, use: Counting) -> None:
    event_id = recorded(tenant, use())
    with pytest.raises(BadUse):
        corrected(tenant, event_id, quantity)


def test_only_an_event_of_one_s_own_is_corrected(tenant: Tenant, stranger: Tenant, use: Counting) -> None:
    event_id = recorded(tenant, use(quantity=5))
    counter = corrected(tenant, event_id, 4)
    assert counter is not None
    for organization, wrong in ((stranger, event_id), (tenant, uuid4()), (tenant, counter.pk)):
        with pytest.raises(EventNotFound):
            corrected(organization, wrong, 1)
    assert total(tenant) == 4
