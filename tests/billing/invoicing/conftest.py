"""Organizations with something to bill: subscriptions and contracts that began in the past, and what they used."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from billing.invoicing.models import Contract
from billing.invoicing.services import Offer, sign_contract
from billing.metering import ids
from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from billing.models import Interval, Source, Status, Subscription
from billing.money import month_after
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant

START = datetime(2026, 8, 1, tzinfo=UTC)
END = datetime(2026, 9, 1, tzinfo=UTC)
PERIOD = (START, END)
NEXT = (END, datetime(2026, 10, 1, tzinfo=UTC))
CLOSED_AT = END + timedelta(days=2)
NEXT_CLOSED_AT = NEXT[1] + timedelta(days=2)
Use = Callable[..., None]


@pytest.fixture
def committed(transactional_db: None) -> Tenant:
    """An organization that other connections see: a watermark counts what was committed before it."""
    return make_tenant()


def used(tenant: Tenant, quantity: int, at: datetime, meter: Meter = Meter.RECALL, project: UUID | None = None) -> UUID:
    """Store one event of `at`; whoever calls it later is late."""
    event_id = UUID(int=ids.first(at).int | 7 << 76 | 2 << 62 | uuid4().int & (1 << 62) - 1)
    with scope(tenant.organization):
        UsageEvent.objects.bulk_create(
            [
                UsageEvent(
                    id=event_id,
                    project_id=project or tenant.project.pk,
                    meter=meter,
                    quantity=quantity,
                    end_user="ada",
                    occurred_at=at,
                )
            ]
        )
    return event_id


def subscribe(tenant: Tenant, **values: Any) -> Subscription:
    """A manual subscription to pro since START, unless told otherwise."""
    defaults: dict[str, Any] = {
        "plan_key": "pro",
        "plan_version": 1,
        "interval": Interval.MONTHLY,
        "status": Status.ACTIVE,
        "source": Source.MANUAL,
        "seats": 1,
        "period_start": START,
        "period_end": END,
        "created_at": START,
    }
    with scope(tenant.organization):
        return Subscription.objects.create(**(defaults | values))


def sign(tenant: Tenant, **values: Any) -> Contract:
    """A contract on enterprise since START: a year of 1,000.00 a month and a commit, unless told otherwise."""
    defaults: dict[str, Any] = {
        "reference": f"C-{uuid4().hex[:8]}",
        "plan_key": "enterprise",
        "starts_at": START,
        "steps": [(12, 12_000_00)],
        "fee": 1_000_00,
    }
    with scope(tenant.organization):
        offer = Offer(**(defaults | values))
        return sign_contract(actor=tenant.actor, offer=offer, now=offer.starts_at)


def months(count: int) -> list[tuple[datetime, datetime]]:
    """The first months from START on."""
    return [(month_after(START, n), month_after(START, n + 1)) for n in range(count)]
