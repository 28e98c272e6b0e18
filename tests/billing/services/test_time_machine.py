"""Days pass in the simulator for one organization, by its own hand, and nowhere else."""

from datetime import timedelta
from typing import Any

import pytest

from billing.models import BillingAccount
from billing.services import time_machine
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.factories import Tenant


def advance(tenant: Tenant, days: int) -> Any:
    return time_machine.advance(organization_id=tenant.organization.pk, actor=tenant.actor, days=days)


def test_time_passes_for_one_customer_and_is_recorded(tenant: Tenant, stranger: Tenant, buy: Buy) -> None:
    customers = {}
    for one in (tenant, stranger):
        buy(one, "pro")
        with scope(one.organization):
            customers[one.organization.pk] = str(BillingAccount.objects.get().stripe_customer_id)
    mine, theirs = (customers[one.organization.pk] for one in (tenant, stranger))
    before = time_machine.time_of(theirs)
    now = advance(tenant, 40)
    assert now - before >= timedelta(days=40)
    assert time_machine.time_of(mine) >= now
    assert time_machine.time_of(theirs) - before < timedelta(days=1)
    with scope(tenant.organization):
        event = AuditEvent.objects.get(action=actions.BILLING_TIME_PASSED.name)
    assert event.metadata["days"] == 40


def test_only_leaps_of_a_day_a_week_or_a_month_and_more(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    for days in (0, -1, 2, 10**9):
        with pytest.raises(Invalid):
            advance(tenant, days)


def test_who_never_bought_anything_has_no_time_to_pass(tenant: Tenant) -> None:
    with pytest.raises(Conflict):
        advance(tenant, 1)


def test_where_money_moves_there_is_no_time_machine(tenant: Tenant, buy: Buy, settings: Any) -> None:
    buy(tenant, "pro")
    settings.STRIPE_SANDBOX = False
    with pytest.raises(NotFound):
        advance(tenant, 1)
