"""A contract replaces the plan, is billed by its ramp, and ends with what it owes."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.invoicing import services
from billing.invoicing.models import Agreed, Contract, Invoice
from billing.invoicing.pricing import SPENDING
from billing.invoicing.selectors.contracts import contracts
from billing.invoicing.services import Offer, change_agreement, end_contract, sign_contract
from billing.invoicing.services.agreements import NotOurs
from billing.invoicing.services.contracts import ContractIsOver, SubscriptionRuns
from billing.models import Subscription
from billing.money import month_after
from billing.plans import Allowance, Included
from billing.services.entitlements import effective
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import SYSTEM
from tenancy.errors import Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.invoicing.conftest import START, months, sign, subscribe, used
from tests.factories import Tenant, make_tenant

OPERATIONS = {Allowance.OPERATIONS: Included(1_000, Decimal(1))}
OFFER = Offer("C-1", "enterprise", START, [(12, 0)], 1_000_00)
USE = st.lists(st.integers(0, 30_000), min_size=6, max_size=6)


def close_all(tenant: Tenant, count: int) -> list[Invoice]:
    """The invoices of the first months, each closed two days after its end."""
    with scope(tenant.organization):
        return [
            services.close_period(actor=SYSTEM, period=period, now=period[1] + timedelta(days=2))
            for period in months(count)
        ]


def test_a_contract_is_what_the_organization_is_entitled_to(tenant: Tenant) -> None:
    start = timezone.now() - timedelta(days=40)
    allowances = {Allowance.OPERATIONS: Included(77, None)}
    sign(tenant, starts_at=start, allowances=allowances, limits={"project_limit": 7}, seats=333)
    with scope(tenant.organization):
        organization = Organization.objects.get()
        assert (organization.operation_limit, organization.project_limit) == (77, 7)
        assert organization.member_limit == 333
        assert organization.period_start == month_after(start, 1)
        entitled = effective()
        assert (entitled.plan.key, entitled.source, entitled.plan.monthly) == ("enterprise", "contract", 1_000_00)
        [event] = AuditEvent.objects.filter(action="billing.contract.signed")
        assert event.metadata["steps"] == [{"months": 12, "commit": 12_000_00}]


@given(
    ramp=st.sampled_from([[(6, 40_000)], [(3, 5_000), (3, 60_000)], [(1, 0), (2, 20_000), (3, 20_000)]]),
    use=USE,
    late=USE,
    commit_paid=st.sampled_from(["prepaid", "true_up"]),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_step_costs_its_use_or_its_commit_also_when_use_is_late(
    ramp: list[tuple[int, int]], use: list[int], late: list[int], commit_paid: str, transactional_db: None
) -> None:
    tenant = make_tenant()
    sign(tenant, steps=ramp, fee=1_000, allowances=OPERATIONS, commit_paid=commit_paid)
    for number, (period, quantity, more) in enumerate(zip(months(6), use, late, strict=True)):
        used(tenant, quantity, period[0])
        with scope(tenant.organization):
            services.close_period(actor=SYSTEM, period=period, now=period[1] + timedelta(days=2))
        if number < 5:  # what comes after the last invoice has none
            used(tenant, more, period[0])
    with scope(tenant.organization):
        invoices = list(Invoice.objects.order_by("period_start").prefetch_related("lines"))
    lines = [line for invoice in invoices for line in invoice.lines.all()]
    assert all(line.amount >= 0 for line in lines)
    assert all(line.amount + line.covered + line.remainder == line.quantity * line.unit_price for line in lines)
    done, expected = 0, 0
    for count, commit in ramp:
        costs = [1_000 + max(0, use[n] + (late[n] if n < 5 else 0) - 1_000) for n in range(done, done + count)]
        starts = [month_after(START, n) for n in range(done, done + count)]
        spent = sum(
            line.amount + line.covered for line in lines if line.kind in SPENDING and line.period_start in starts
        )
        assert spent == sum(costs)
        expected += max(commit, spent)
        done += count
    assert sum(invoice.total for invoice in invoices) == expected


def test_the_commit_is_billed_in_the_words_of_the_contract(committed: Tenant) -> None:
    sign(committed, steps=[(2, 5_000)], fee=1_000, po_number="PO 9", net_days=45)
    first, second = close_all(committed, 2)
    assert (first.total, second.total, second.po_number) == (1_000, 4_000, "PO 9")
    assert first.due_at is not None
    assert first.issued_at is not None
    assert first.due_at - first.issued_at == timedelta(days=45)
    with scope(committed.organization):
        line = second.lines.get(kind="true_up")
        assert (line.amount, line.how["commit"], line.how["spent"]) == (3_000, 5_000, 2_000)
        assert Subscription.objects.get().status == "canceled"


def test_a_prepaid_commit_is_paid_first_and_used_up(committed: Tenant) -> None:
    sign(committed, steps=[(2, 1_500)], fee=1_000, commit_paid="prepaid")
    first, second = close_all(committed, 2)
    with scope(committed.organization):
        assert [(line.kind, line.amount, line.covered) for line in first.lines.order_by("place")][:2] == [
            ("commit", 1_500, 0),
            ("plan", 0, 1_000),
        ]
    assert (first.total, second.total) == (1_500, 500)


def test_a_contract_that_ends_early_owes_the_step_that_runs(committed: Tenant) -> None:
    now = timezone.now()
    start = now - timedelta(days=40)
    contract = sign(committed, starts_at=start, steps=[(6, 9_000), (6, 90_000)], fee=1_000)
    with scope(committed.organization):
        ended = end_contract(actor=committed.actor, contract_id=contract.pk, reason=" They moved on ")
        assert (ended.ends_at, ended.end_reason) == (month_after(start, 2), "They moved on")
        with pytest.raises(ContractIsOver):
            end_contract(actor=committed.actor, contract_id=contract.pk, reason="Again")
        assert effective().plan.key == "enterprise"  # until its end
        assert effective(now=month_after(start, 2)).plan.key == "free"
        for n in range(2):
            period = (month_after(start, n), month_after(start, n + 1))
            services.close_period(actor=SYSTEM, period=period, now=month_after(start, 2) + timedelta(days=2))
        assert sum(invoice.total for invoice in Invoice.objects.all()) == 9_000
        assert AuditEvent.objects.filter(action="billing.contract.ended").count() == 1
        assert contracts() == [contract]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reference": " "}, "reference"),
        ({"plan_key": "gold"}, "plan_key"),
        ({"plan_version": 9}, "plan_key"),
        ({"starts_at": month_after(START, 25)}, "starts_at"),
        ({"starts_at": START.replace(tzinfo=None)}, "starts_at"),
        ({"starts_at": START.replace(year=2020)}, "steps"),
        ({"steps": []}, "steps"),
        ({"steps": [(12, -1)]}, "steps"),
        ({"steps": [(0, 5)]}, "steps"),
        ({"steps": [(121, 5)]}, "steps"),
        ({"fee": -1}, "steps"),
        ({"fee": 10**12}, "steps"),
        ({"currency": "xxx"}, "currency"),
        ({"commit_paid": "never"}, "commit_paid"),
        ({"seats": 0}, "seats"),
        ({"seat_price": -1}, "steps"),
        ({"contact": "c" * 255}, "contact"),
        ({"net_days": 999}, "net_days"),
        ({"po_number": "9" * 65}, "po_number"),
        ({"limits": {"member_limit": 5}}, "limits"),
        ({"limits": {"project_limit": -5}}, "value"),
        ({"allowances": {Allowance.OPERATIONS: Included(-1)}}, "value"),
        ({"allowances": {Allowance.OPERATIONS: Included(1, Decimal(-1))}}, "value"),
    ],
)
def test_a_contract_that_makes_no_sense_is_refused(change: dict[str, Any], field: str, tenant: Tenant) -> None:
    with scope(tenant.organization):
        with pytest.raises(Invalid) as refused:
            sign_contract(actor=tenant.actor, offer=replace(OFFER, **change), now=START)
        assert refused.value.field == field
        assert not Contract.objects.exists()


def test_nobody_has_two_agreements_at_once(tenant: Tenant, stranger: Tenant) -> None:
    subscribe(tenant)
    with pytest.raises(SubscriptionRuns):
        sign(tenant)
    contract = sign(stranger)
    with pytest.raises(SubscriptionRuns):
        sign(stranger)
    with scope(tenant.organization), pytest.raises(NotFound):
        end_contract(actor=tenant.actor, contract_id=contract.pk, reason="Not mine")


def begin(now: datetime) -> int:
    return services.begin_due(now=now)


def test_a_contract_entered_before_it_starts_holds_from_its_start(committed: Tenant) -> None:
    now = timezone.now()
    start = now + timedelta(days=10)
    with scope(committed.organization):
        offer = replace(OFFER, starts_at=start, seats=150, steps=[(3, 100_000), (9, 900_000)])
        contract = sign_contract(actor=committed.actor, offer=offer, now=now)
        assert (contract.subscription, contract.starts_at) == (None, start)
        assert effective().plan.key == "free"
        assert Organization.objects.get().member_limit == 10
    begin(start - timedelta(seconds=1))
    with scope(committed.organization):
        assert not Subscription.objects.exists()
    begin(start)
    begin(start)
    with scope(committed.organization):
        assert Subscription.objects.get().status == "active"
        assert AuditEvent.objects.filter(action="billing.contract.begun").count() == 1
        assert effective(now=start).plan.key == "enterprise"
        assert effective(now=start).columns["member_limit"] == 150


def test_a_contract_follows_what_ends_by_its_start(committed: Tenant) -> None:
    now = timezone.now()
    runs = subscribe(committed, period_start=now - timedelta(days=3), period_end=now + timedelta(days=27))
    offer = replace(OFFER, starts_at=now + timedelta(days=27))
    with scope(committed.organization):
        with pytest.raises(SubscriptionRuns):
            sign_contract(actor=committed.actor, offer=offer, now=now)
        runs.cancel_at = offer.starts_at
        runs.save()
        sign_contract(actor=committed.actor, offer=offer, now=now)
    begin(offer.starts_at)
    with scope(committed.organization):
        assert Subscription.objects.get().pk == runs.pk  # it has not ended yet
        runs.status, runs.ended_at = "canceled", offer.starts_at
        runs.save()
    begin(offer.starts_at + timedelta(minutes=2))
    with scope(committed.organization):
        assert Subscription.objects.exclude(pk=runs.pk).get().period_start == offer.starts_at


def test_a_contract_that_has_not_begun_is_withdrawn(tenant: Tenant) -> None:
    now = timezone.now()
    with scope(tenant.organization):
        offer = replace(OFFER, starts_at=now + timedelta(days=10))
        contract = sign_contract(actor=tenant.actor, offer=offer, now=now)
        with pytest.raises(Invalid):  # it covers the time
            sign_contract(actor=tenant.actor, offer=replace(offer, reference="C-2"), now=now)
        end_contract(actor=tenant.actor, contract_id=contract.pk, reason="They changed their mind", now=now)
        assert not Contract.objects.exists()
        assert AuditEvent.objects.filter(action="billing.contract.ended").count() == 1
        sign_contract(actor=tenant.actor, offer=offer, now=now)


def test_one_contract_ends_where_the_next_begins(committed: Tenant) -> None:
    now = timezone.now()
    start = month_after(now, -1) + timedelta(hours=1)
    sign(committed, starts_at=start, steps=[(1, 0)])
    with scope(committed.organization):
        offer = replace(OFFER, reference="C-2", starts_at=month_after(start, 1), fee=2_000_00)
        sign_contract(actor=committed.actor, offer=offer, now=now)
        assert effective(now=now).plan.monthly == 1_000_00
        assert effective(now=offer.starts_at).plan.monthly == 2_000_00


def test_a_contract_s_prices_stand_in_the_plan_s_place(tenant: Tenant) -> None:
    contract = sign(tenant, starts_at=timezone.now() - timedelta(days=1), fee=77, seat_price=5, contact="Ada, ada@us")
    with scope(tenant.organization):
        agreed = effective().plan
        assert (agreed.monthly, agreed.seat) == (77, 5)
        assert agreed.allowances[Allowance.SEATS].overage == Decimal(5)
        assert contract.contact == "Ada, ada@us"


def test_own_agreements_change_with_their_history(tenant: Tenant, stranger: Tenant) -> None:
    subscribe(tenant)
    at = START + timedelta(days=10)
    with scope(tenant.organization):
        change_agreement(actor=tenant.actor, plan_key="scale", seats=30, now=at)
        change_agreement(actor=tenant.actor, plan_key="scale", seats=30, now=at + timedelta(days=1))
        kept = list(Agreed.objects.order_by("since").values_list("since", "plan_key", "seats"))
        assert kept == [(START, "pro", 1), (at, "scale", 30)]
        assert AuditEvent.objects.filter(action="billing.subscription.changed").count() == 1
        assert effective().plan.key == "scale"
        wrongs: list[tuple[dict[str, Any], str]] = [({"plan_key": "gold"}, "plan_key"), ({"seats": 0}, "seats")]
        for wrong, field in wrongs:
            with pytest.raises(Invalid) as refused:
                change_agreement(actor=tenant.actor, **wrong)
            assert refused.value.field == field
    sign(stranger)
    with scope(stranger.organization):
        with pytest.raises(Invalid):
            change_agreement(actor=stranger.actor, plan_key="pro")
        assert change_agreement(actor=stranger.actor, seats=120).seats == 120


@pytest.mark.parametrize("source", [None, "stripe", "yearly"])
def test_what_is_not_ours_to_change_is_refused(source: str | None, tenant: Tenant) -> None:
    if source == "yearly":
        subscribe(tenant, interval="yearly")
    elif source:
        subscribe(tenant, source=source, stripe_id=f"sub_{tenant.organization.pk.hex}")
    with scope(tenant.organization), pytest.raises(Invalid if source == "yearly" else NotOurs):
        change_agreement(actor=tenant.actor, plan_key="scale")
