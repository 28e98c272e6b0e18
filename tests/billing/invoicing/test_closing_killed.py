"""Whoever closes periods may be killed at any statement: the next one goes on, and everything is there once."""

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connection

from billing.invoicing import services
from billing.invoicing.models import Invoice, InvoiceLine
from billing.metering.models import UsageAdjustment, UsagePeriod
from billing.models import Debt
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.billing.invoicing.conftest import NEXT, NEXT_CLOSED_AT, PERIOD, START, subscribe, used
from tests.factories import Tenant, make_tenant

MOST_STATEMENTS = 200


def killed_at(statement: int, work: Callable[[], Any]) -> bool:
    """Do the work in a process that is killed when it has sent so many statements; whether it came to its end first."""
    connection.close()  # a connection belongs to one process
    child = os.fork()
    if not child:
        sent = 0

        def count(execute: Any, *args: Any) -> Any:
            nonlocal sent
            sent += 1
            result = execute(*args)
            if sent == statement:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        with connection.execute_wrapper(count):
            work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def test_a_month_is_closed_and_invoiced_once_however_often_its_worker_is_killed(committed: Tenant) -> None:
    tenants = [committed, make_tenant()]
    for tenant in tenants:
        subscribe(tenant, seats=3)
        used(tenant, 300_000, START)
    services.close_due(now=PERIOD[1] + timedelta(days=2))
    for tenant in tenants:
        used(tenant, 5_000, START + timedelta(days=1))  # late
        used(tenant, 260_000, NEXT[0])
    deaths = 0
    while not killed_at(deaths + 1, lambda: services.close_due(now=NEXT_CLOSED_AT)):
        deaths += 1
        assert deaths < MOST_STATEMENTS
    assert deaths > 5
    for tenant in tenants:
        with scope(tenant.organization):
            first, second = UsagePeriod.objects.order_by("starts_at")
            assert (first.ends_at, second.totals) == (second.starts_at, {"recall": {"quantity": 260_000, "events": 1}})
            assert [(one.period_id, one.quantity) for one in UsageAdjustment.objects.all()] == [(first.pk, 5_000)]
            invoices = list(Invoice.objects.order_by("period_start"))
            assert [str(one.number)[-4:] for one in invoices] == ["0001", "0002"]
            lines = InvoiceLine.objects.filter(invoice=invoices[1]).order_by("place")
            amounts = [(one.kind, one.amount) for one in lines]
            assert amounts == [("adjustment", 60), ("plan", 29_00), ("usage", 1_20), ("seats", 0)]
            assert Debt.objects.count() == 2
            assert AuditEvent.objects.filter(action="billing.usage.period_closed").count() == 2
            assert AuditEvent.objects.filter(action="billing.invoice.opened").count() == 2
