"""A period is closed once, into an invoice whose lines say what it cost."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from billing.invoicing import services
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.services.closing import NoSuchPeriod
from billing.invoicing.usage import measured
from billing.metering.meters import Meter
from billing.metering.models import UsagePeriod
from billing.metering.selectors import totals
from billing.metering.services.corrections import correct
from billing.models import BillingAccount, Source, Status
from billing.money import month_after
from tenancy.audit.services import SYSTEM
from tenancy.errors import Invalid
from tenancy.scope import scope
from tests.billing.invoicing.conftest import CLOSED_AT, END, NEXT, NEXT_CLOSED_AT, PERIOD, START, sign, subscribe, used
from tests.factories import Tenant, make_tenant
from tests.sums import catch_up
from tests.trail import audited

OPERATION = Decimal("0.012")  # of pro above 250,000
COPY_A_LINE = """
    INSERT INTO invoicing_invoiceline (id, place, kind, allowance, period_start, description, quantity, unit_price,
        covered, amount, remainder, how, invoice_id, organization_id)
    SELECT gen_random_uuid(), place + 1, kind, allowance, period_start, description, quantity, unit_price, covered,
        amount, remainder, how, invoice_id, organization_id
    FROM invoicing_invoiceline
"""


def close(tenant: Tenant, period: Any = PERIOD, now: datetime = CLOSED_AT) -> Invoice:
    """The period's invoice, in the scope of its organization."""
    with scope(tenant.organization):
        return services.close_period(actor=SYSTEM, period=period, now=now)


def lines(tenant: Tenant, invoice: Invoice) -> dict[str, InvoiceLine]:
    """The invoice's lines by allowance, or by kind where they have none."""
    with scope(tenant.organization):
        return {line.allowance or line.kind: line for line in invoice.lines.all()}


def test_a_month_s_invoice_has_the_plan_and_what_was_used_above_it(committed: Tenant) -> None:
    subscribe(committed, seats=12)
    used(committed, 250_000, START)
    used(committed, 1_030, END - timedelta(minutes=1), Meter.INGEST)
    used(committed, 77, END, Meter.INGEST)  # the next month's
    invoice = close(committed)
    found = lines(committed, invoice)
    assert (found["plan"].amount, found["seats"].quantity, found["seats"].amount) == (29_00, 2, 18_00)
    line = found["operations"]
    assert (line.quantity, line.unit_price, line.amount) == (1_030, OPERATION, 12)
    assert line.remainder == Decimal("0.36")  # 12.36 cents
    assert line.how["used"] == 251_030
    assert line.how["meters"] == {"ingest": 1_030, "recall": 250_000}
    assert line.how["plan"] == "pro v1"
    assert line.how["hours"] == [START.isoformat(), END.isoformat()]
    assert invoice.total == invoice.subtotal == 29_00 + 18_00 + 12
    assert (invoice.state, invoice.source) == ("open", "manual")
    assert invoice.number is not None
    assert invoice.number.endswith("-0001")


def test_closing_twice_gives_the_same_invoice(committed: Tenant) -> None:
    subscribe(committed)
    first = close(committed)
    used(committed, 300_000, START)
    again = close(committed, now=NEXT_CLOSED_AT)
    assert (again.pk, again.number, again.total) == (first.pk, first.number, first.total)
    with scope(committed.organization):
        assert len(audited("billing.invoice.opened", target=str(first.pk))) == 1


def test_a_period_that_is_not_over_has_no_invoice(committed: Tenant) -> None:
    subscribe(committed)
    with pytest.raises(NoSuchPeriod):
        close(committed, now=END - timedelta(seconds=1))
    with pytest.raises(NoSuchPeriod):
        close(make_tenant())  # on the free plan nothing was agreed


def test_sums_are_the_same_before_and_after_their_roll_up(committed: Tenant) -> None:
    subscribe(committed)
    used(committed, 300_000, START + timedelta(days=3))
    catch_up()
    used(committed, 7, START + timedelta(days=3))
    assert lines(committed, close(committed))["operations"].how["used"] == 300_007


def test_late_use_becomes_an_adjustment_of_the_next_invoice(committed: Tenant) -> None:
    subscribe(committed)
    used(committed, 249_000, START)
    first = close(committed)
    used(committed, 2_000, END - timedelta(hours=1))
    second = close(committed, NEXT, NEXT_CLOSED_AT)
    with scope(committed.organization):
        assert first.lines.get(allowance="operations").amount == 0
        [line] = second.lines.filter(kind="adjustment")
    assert (line.period_start, line.quantity, line.unit_price, line.amount) == (START, 1_000, OPERATION, 12)
    assert (line.how["billed"], line.how["used"]) == (249_000, 251_000)
    third = close(committed, (NEXT[1], datetime(2026, 11, 1, tzinfo=UTC)), datetime(2026, 11, 3, tzinfo=UTC))
    with scope(committed.organization):
        assert not third.lines.filter(kind="adjustment").exists()


def test_gauges_are_averaged_or_the_highest(committed: Tenant) -> None:
    subscribe(committed, seats=1)
    for day, (stored, seats) in enumerate([(10**10, 11), (3 * 10**10, 13), (2 * 10**10, 12)]):
        at = START + timedelta(days=day)
        used(committed, stored, at, Meter.STORED_BYTES)
        used(committed, seats, at, Meter.SEAT)
    found = lines(committed, close(committed))
    assert found["stored_bytes"].how["used"] == 2 * 10**10
    assert found["stored_bytes"].amount == 250  # 10 GB more at 0.025 each thousand million
    assert (found["seats"].quantity, found["seats"].amount) == (3, 27_00)


def test_what_stripe_collects_is_not_collected_twice(committed: Tenant) -> None:
    subscribe(committed, source=Source.STRIPE, stripe_id=f"sub_{committed.organization.pk.hex}", seats=20)
    used(committed, 251_000, START)
    invoice = close(committed)
    found = lines(committed, invoice)
    assert list(found) == ["operations"]
    assert (invoice.source, invoice.number, invoice.state) == ("stripe", None, "open")


def test_a_trial_costs_nothing_and_is_settled(committed: Tenant) -> None:
    subscribe(committed, status=Status.TRIALING, trial_end=END, plan_key="scale")
    used(committed, 10**7, START)
    invoice = close(committed)
    assert (invoice.state, invoice.total, lines(committed, invoice)) == ("paid", 0, {})


def test_a_subscription_that_ended_is_billed_until_then(committed: Tenant) -> None:
    ended = START + timedelta(days=10, minutes=30)
    subscribe(committed, status=Status.CANCELED, ended_at=ended)
    used(committed, 260_000, ended.replace(minute=0) - timedelta(minutes=1))
    used(committed, 1_000_000, ended.replace(minute=0))  # of an hour that the next period begins in
    found = lines(committed, close(committed, (START, ended), ended + timedelta(days=2)))
    assert found["operations"].how["used"] == 260_000


def test_a_year_is_paid_once_and_its_months_by_use(committed: Tenant) -> None:
    subscribe(committed, interval="yearly", period_end=datetime(2027, 8, 1, tzinfo=UTC))
    assert lines(committed, close(committed))["plan"].amount == 290_00
    assert "plan" not in lines(committed, close(committed, NEXT, NEXT_CLOSED_AT))


def test_the_sweep_drafts_at_once_and_opens_after_the_grace(committed: Tenant) -> None:
    subscribe(committed)
    with scope(committed.organization):
        BillingAccount.objects.create(po_number="PO 77")
    services.close_due(now=END + timedelta(minutes=1))
    with scope(committed.organization):
        draft = Invoice.objects.get()
        assert (draft.state, draft.number, draft.po_number) == ("draft", None, "PO 77")
    used(committed, 251_000, START)  # late, within the grace
    services.close_due(now=END + timedelta(hours=23))
    with scope(committed.organization):
        assert Invoice.objects.get().state == "draft"
    services.close_due(now=END + timedelta(hours=24))
    services.close_due(now=END + timedelta(hours=25))
    with scope(committed.organization):
        opened = Invoice.objects.get()
        assert (opened.state, opened.total) == ("open", 29_00 + 12)


def test_the_sweep_makes_up_for_months_that_it_missed(committed: Tenant) -> None:
    subscribe(committed)
    services.close_due(now=NEXT_CLOSED_AT)
    with scope(committed.organization):
        found = Invoice.objects.order_by("number")
        assert [(one.period_start, one.period_end) for one in found] == [PERIOD, NEXT]
        assert [one.number[-4:] for one in found if one.number] == ["0001", "0002"]


def test_a_plan_that_changes_after_the_period_does_not_change_its_price(committed: Tenant) -> None:
    subscription = subscribe(committed)
    services.close_due(now=END + timedelta(minutes=1))
    with scope(committed.organization):
        subscription.plan_key = "scale"
        subscription.save()
    assert lines(committed, close(committed))["plan"].amount == 29_00


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE invoicing_invoice SET total = 0, subtotal = 0",
        "UPDATE invoicing_invoice SET state = 'draft', number = NULL",
        "UPDATE invoicing_invoice SET terms = '{}'",
        "UPDATE invoicing_invoiceline SET amount = 0",
        "DELETE FROM invoicing_invoiceline",
        "DELETE FROM invoicing_invoice",
        COPY_A_LINE,
    ],
)
def test_nobody_changes_what_an_open_invoice_says(change: str, committed: Tenant) -> None:
    subscribe(committed)
    close(committed)
    with scope(committed.organization), pytest.raises(DatabaseError), transaction.atomic():
        connection.cursor().execute(change)


def test_nobody_sees_another_s_invoices(committed: Tenant) -> None:
    subscribe(committed)
    close(committed)
    with scope(make_tenant().organization):
        assert not Invoice.objects.exists()
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM invoicing_invoiceline")
            assert cursor.fetchall() == [(0,)]


def test_what_is_billed_is_what_metering_says(committed: Tenant) -> None:
    part = timedelta(minutes=20)
    subscribe(committed, period_start=START + part, period_end=END + part, created_at=START + part)
    for at in (START - timedelta(hours=1), START, START + timedelta(hours=1), END - timedelta(hours=1), END):
        for number, meter in enumerate(Meter, start=7):
            used(committed, number * at.day + at.month, at, meter)
    with scope(committed.organization):
        found = measured((START + part, END + part)).meters
        assert found == totals(START, END).meters
    close(committed, (START + part, END + part))
    with scope(committed.organization):
        closed = UsagePeriod.objects.get(starts_at=START + part)
    assert {meter: of["quantity"] for meter, of in (closed.totals or {}).items()} == found


def test_a_correction_that_comes_late_is_given_back(committed: Tenant) -> None:
    subscribe(committed)
    event_id = used(committed, 350_000, START)
    assert close(committed).total == 29_00 + 12_00
    with scope(committed.organization):
        correct(actor=SYSTEM, event_id=event_id, quantity=300_000, reason="A loop of ours")
    invoice = close(committed, NEXT, NEXT_CLOSED_AT)
    assert (lines(committed, invoice)["operations"].quantity, invoice.total) == (-50_000, 29_00 - 6_00)


def test_a_page_of_organizations_is_read_in_as_many_queries_as_one(committed: Tenant) -> None:
    def queries(tenants: list[Tenant], now: datetime) -> int:
        for one in tenants:
            subscribe(one, source=Source.STRIPE, stripe_id=f"sub_{one.organization.pk.hex}")
        with CaptureQueriesContext(connection) as found:
            services.close_due(now=now)
        return len(found)

    services.close_due(now=END)  # what other tests left
    over = queries([committed], END), queries([make_tenant() for _ in range(7)], END)
    assert over[0] == over[1]
    with CaptureQueriesContext(connection) as found:
        services.close_due(now=CLOSED_AT)
    # an invoice is a transaction of its own: scope, lock, state, lines, sums, trail, listeners, Stripe's part
    assert len(found) <= 12 + 8 * 13
    assert not [one for one in found if "FROM metering_usage" in str(one["sql"])], "use is read with the page alone"


def test_a_contract_does_not_begin_in_a_time_that_has_its_period_already(committed: Tenant) -> None:
    subscribe(committed, status=Status.CANCELED, ended_at=END)
    close(committed)
    with pytest.raises(Invalid, match="has its period already: begin then"):
        sign(committed, starts_at=END - timedelta(days=1), steps=[(48, 0)])
    sign(committed, starts_at=END, steps=[(48, 0)])
    assert lines(committed, close(committed, NEXT, NEXT_CLOSED_AT))["plan"].amount == 1_000_00


def test_a_contract_takes_over_from_the_day_on_which_it_begins(committed: Tenant) -> None:
    begins = START + timedelta(days=9)
    subscribe(committed, status=Status.CANCELED, ended_at=begins + timedelta(hours=3))
    sign(committed, starts_at=begins, steps=[(48, 0)])
    close(committed, (START, begins), CLOSED_AT)
    invoice = close(committed, (begins, month_after(begins, 1)), CLOSED_AT + timedelta(days=31))
    assert (invoice.contract_id is not None, lines(committed, invoice)["plan"].amount) == (True, 1_000_00)
