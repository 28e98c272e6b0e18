"""A month that is rebuilt from raw events is what was invoiced, or the difference is printed."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.credits.services import grant
from billing.invoicing import services
from billing.invoicing.models import Invoice
from billing.metering.meters import Meter
from billing.models import Status
from billing.plans import Allowance, Included
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.billing.invoicing.conftest import CLOSED_AT, END, NEXT, NEXT_CLOSED_AT, PERIOD, START, sign, subscribe, used
from tests.factories import Tenant
from tests.raw import connect

LATER = "$12.00 for the adjustments of the next invoice"
BUSY = {Meter.RECALL: 100_001, Meter.SEAL: 3, Meter.SEAT: 13, Meter.STORED_BYTES: 10**11}


def replay(tenant: Tenant, month: str = "2026-08") -> str:
    """What the command prints for one organization."""
    output = StringIO()
    call_command("replay_billing", "--period", month, "--organization", tenant.organization.slug, stdout=output)
    return output.getvalue()


def differences(tenant: Tenant, month: str = "2026-08") -> list[str]:
    """What differs; fails when nothing does."""
    output = StringIO()
    with pytest.raises(CommandError):
        call_command("replay_billing", "--period", month, "--organization", tenant.organization.slug, stdout=output)
    return output.getvalue().splitlines()


def close(tenant: Tenant, period: tuple[datetime, datetime] = PERIOD, now: datetime = CLOSED_AT) -> Invoice:
    """The period's invoice."""
    with scope(tenant.organization):
        return services.close_period(actor=SYSTEM, period=period, now=now)


def busy(tenant: Tenant) -> None:
    """A month with a bit of everything."""
    for day in range(4):
        at = START + timedelta(days=day, hours=day)
        for meter, quantity in (
            (Meter.RECALL, 100_001),
            (Meter.SEAL, 3),
            (Meter.SEAT, 13),
            (Meter.STORED_BYTES, 10**11),
        ):
            used(tenant, quantity + day, at, meter)


def test_an_honest_month_has_no_difference(committed: Tenant) -> None:
    subscribe(committed, seats=4)
    busy(committed)
    with scope(committed.organization):
        grant(actor=SYSTEM, amount=5_00, currency="usd", category="paid", reason="A test", ref="one")
    close(committed)
    assert replay(committed) == "1 invoices rebuilt, difference 0.\n"
    assert replay(committed, "2026-07") == "0 invoices rebuilt, difference 0.\n"


def test_an_honest_contract_has_no_difference(committed: Tenant) -> None:
    sign(committed, commit_paid="prepaid", allowances={Allowance.OPERATIONS: Included(5)})
    busy(committed)
    close(committed)
    assert "difference 0" in replay(committed)


def test_a_trial_has_no_difference(committed: Tenant) -> None:
    subscribe(committed, status=Status.TRIALING, trial_end=END)
    busy(committed)
    close(committed)
    assert "difference 0" in replay(committed)


def test_late_use_is_a_difference_until_it_is_adjusted(committed: Tenant) -> None:
    subscribe(committed)
    used(committed, 250_000, START)
    invoice = close(committed)
    used(committed, 100_000, START + timedelta(hours=1))
    assert differences(committed) == [
        f"{committed.organization.pk} {invoice.number}: operations: 250,000 billed, 350,000 used: {LATER}"
    ]
    close(committed, NEXT, NEXT_CLOSED_AT)
    assert "difference 0" in replay(committed)
    assert "difference 0" in replay(committed, "2026-09")


def test_a_line_that_was_changed_past_the_application_is_found(committed: Tenant) -> None:
    subscribe(committed)
    used(committed, 350_000, START)
    close(committed)
    with connect("superuser") as server:
        server.execute(
            "UPDATE invoicing_invoiceline SET quantity = 1, amount = 0 WHERE allowance = 'operations' "
            "AND organization_id = %s",
            [committed.organization.pk],
        )
    found = differences(committed)
    assert [one.split(": ", 1)[1] for one in found] == [
        "usage operations: 1 for $0.00 invoiced, 100,000 for $12.00 by the events it saw",
        "line 2: quantity times price is not its amount",
        "total: $41.00, its lines come to $29.00",
    ]


def test_the_whole_month_is_everybody_s(committed: Tenant) -> None:
    in_a_year = datetime(2026 + 41, 3, 1, tzinfo=UTC)  # a month that no other test bills
    subscribe(committed, created_at=in_a_year, period_start=in_a_year, period_end=datetime(2067, 4, 1, tzinfo=UTC))
    close(committed, (in_a_year, datetime(2067, 4, 1, tzinfo=UTC)), datetime(2067, 4, 3, tzinfo=UTC))
    output = StringIO()
    call_command("replay_billing", "--period", "2067-03", stdout=output)
    assert output.getvalue() == "1 invoices rebuilt, difference 0.\n"


def test_what_cannot_be_replayed_is_said(committed: Tenant) -> None:
    with pytest.raises(CommandError, match="There is no organization"):
        call_command("replay_billing", "--period", "2026-08", "--organization", "nobody-here")
    with pytest.raises(CommandError, match="invalid _month value"):
        call_command("replay_billing", "--period", "October")
