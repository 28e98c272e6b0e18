"""What an organization is entitled to stands in its columns: the plan it agreed to, and what was granted beside it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.invoicing.services.contracts import Offer, sign_contract
from billing.models import BillingAccount, EntitlementOverride, EntitlementVersion, SeatPolicy, Status, Subscription
from billing.periods import month_of
from billing.plans import FREE, Allowance, Feature, Included, current
from billing.services import entitlements
from billing.services.dunning import payment_failed
from billing.tasks import recompute_due
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import SYSTEM, Actor
from tenancy.errors import Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant
from tests.threads import at_once

MAX = Actor("staff", "staff-max", "max@example.com")
EVA = Actor("staff", "staff-eva", "eva@example.com")
SOON = timedelta(days=30)


def subscribe(key: str = "pro", **changes: Any) -> Subscription:
    """A subscription of the organization in scope, as the events of Stripe leave it."""
    now = timezone.now()
    return Subscription.objects.create(
        **{
            "plan_key": key,
            "plan_version": 1,
            "status": Status.ACTIVE,
            "period_start": now - timedelta(days=3),
            "period_end": now + timedelta(days=27),
        }
        | changes
    )


def grant(key: str, value: Any, **changes: Any) -> EntitlementOverride:
    """An override by Max."""
    given: dict[str, Any] = {"actor": MAX, "reason": "A pilot", "expires_at": timezone.now() + SOON}
    return entitlements.grant_override(key=key, value=value, **given | changes)


def column(name: str) -> Any:
    """A column of the organization in scope."""
    return Organization.objects.values_list(name, flat=True).get()


def trail() -> list[str]:
    """The actions in the trail of the organization in scope, oldest first."""
    return list(
        AuditEvent.objects.filter(action__startswith="billing.").order_by("id").values_list("action", flat=True)
    )


def test_without_a_subscription_an_organization_is_on_the_free_plan_and_nothing_changes(tenant: Tenant) -> None:
    with scope(tenant.organization):
        entitled = entitlements.recompute(actor=SYSTEM)
        assert (entitled.plan, entitled.source, entitled.period) == (current(FREE), FREE, None)
        assert trail() == []


def test_a_subscription_brings_its_plan_into_the_columns_with_a_line_in_the_trail(tenant: Tenant) -> None:
    with scope(tenant.organization):
        subscription = subscribe("scale")
        entitlements.recompute(actor=SYSTEM)
        organization = Organization.objects.get()
        columns = current("scale").columns
        assert {name: getattr(organization, name) for name in columns} == columns
        assert (organization.period_start, organization.period_end) == (
            subscription.period_start,
            subscription.period_end,
        )
        event = AuditEvent.objects.get(action=actions.BILLING_ENTITLEMENTS_CHANGED.name)
    assert event.metadata["plan"] == "scale v1"
    assert event.changes["operation_limit"] == [25_000, None]


def test_recomputing_twice_writes_once(tenant: Tenant) -> None:
    with scope(tenant.organization):
        subscribe()
        entitlements.recompute(actor=SYSTEM)
        entitlements.recompute(actor=SYSTEM)
        assert trail() == [actions.BILLING_ENTITLEMENTS_CHANGED.name]
        assert EntitlementVersion.objects.get().number == 1


@pytest.mark.parametrize(
    ("status", "plan"),
    [
        (Status.TRIALING, "pro"),
        (Status.ACTIVE, "pro"),
        (Status.PAST_DUE, "pro"),
        (Status.UNPAID, "pro"),
        (Status.INCOMPLETE, FREE),
        (Status.INCOMPLETE_EXPIRED, FREE),
        (Status.PAUSED, FREE),
        (Status.CANCELED, FREE),
    ],
)
def test_a_plan_is_given_by_what_was_paid_once_and_has_not_ended(tenant: Tenant, status: str, plan: str) -> None:
    with scope(tenant.organization):
        subscribe(status=status)
        assert entitlements.effective().plan.key == plan


def test_the_end_of_a_subscription_gives_back_exactly_the_free_plan(tenant: Tenant) -> None:
    with scope(tenant.organization):
        before = Organization.objects.values().get()
        subscribe("enterprise")
        entitlements.recompute(actor=SYSTEM)
        ended_at = timezone.now()
        Subscription.objects.update(status=Status.CANCELED, ended_at=ended_at)
        entitlements.recompute(actor=SYSTEM)
        rest = {"period_start": ended_at, "period_end": month_of(ended_at)[1]}  # of this month
        assert Organization.objects.values().get() == before | rest


@pytest.mark.parametrize(
    ("bought", "policy", "limit"),
    [(1, SeatPolicy.NAMED, 10), (14, SeatPolicy.NAMED, 14), (1, SeatPolicy.USED, 10_000)],
)
def test_seats_are_those_included_or_bought_or_counted_afterwards(
    tenant: Tenant, bought: int, policy: str, limit: int
) -> None:
    with scope(tenant.organization):
        BillingAccount.objects.create(seat_policy=policy)
        subscribe(seats=bought)
        entitlements.recompute(actor=SYSTEM)
        assert column("member_limit") == limit


def test_a_year_paid_at_once_is_counted_month_by_month(tenant: Tenant) -> None:
    start = datetime(2026, 1, 31, 8, tzinfo=UTC)
    with scope(tenant.organization):
        subscribe(interval="yearly", period_start=start, period_end=start.replace(year=2027))
        periods = [entitlements.effective(now=datetime(2026, month, 15, tzinfo=UTC)).period for month in (2, 3, 4)]
    assert [f"{begin:%m-%d} {end:%m-%d}" for begin, end in filter(None, periods)] == [
        "01-31 02-28",
        "02-28 03-31",
        "03-31 04-30",
    ]


def test_a_period_goes_on_while_the_renewal_is_not_heard_of(tenant: Tenant) -> None:
    with scope(tenant.organization):
        late = subscribe(period_start=datetime(2026, 1, 10, tzinfo=UTC), period_end=datetime(2026, 2, 10, tzinfo=UTC))
        assert entitlements.effective(now=late.period_end).period == (
            late.period_end,
            datetime(2026, 3, 10, tzinfo=UTC),
        )


def test_a_contract_s_allowances_and_limits_stand_in_its_plan_s_place_month_by_month(tenant: Tenant) -> None:
    now = timezone.now()
    offer = Offer(
        reference="C-1",
        plan_key="enterprise",
        starts_at=now - timedelta(days=70),
        steps=[(12, 1_000_000)],
        fee=100_000,
        seats=250,
        allowances={Allowance.OPERATIONS: Included(40_000_000)},
        limits={"project_limit": 3_000},
    )
    with scope(tenant.organization):
        sign_contract(actor=MAX, offer=offer)
        entitled = entitlements.effective()
        assert (entitled.source, entitled.plan.key, entitled.columns["features"]) == (
            "contract",
            "enterprise",
            sorted(Feature),
        )
        assert (column("operation_limit"), column("project_limit"), column("member_limit")) == (40_000_000, 3_000, 250)
        assert column("document_limit") is None
        assert column("period_start") <= now < column("period_end")
        assert column("period_end") - column("period_start") <= timedelta(days=31)


def test_an_override_holds_until_it_ends_and_says_who_and_why(tenant: Tenant) -> None:
    with scope(tenant.organization):
        granted = grant("project_limit", 12, reason="  Migration from another service ")
        assert column("project_limit") == 12
        assert (granted.reason, granted.author, granted.approver) == (
            "Migration from another service",
            "max@example.com",
            "",
        )
        entitled = entitlements.effective()
        assert (entitled.base["project_limit"], entitled.columns["project_limit"]) == (5, 12)
        entitlements.end_override(actor=EVA, override_id=granted.pk)
        entitlements.end_override(actor=EVA, override_id=granted.pk)
        assert column("project_limit") == 5
        assert EntitlementOverride.objects.get().ended_by == "eva@example.com"
        assert trail() == [
            actions.BILLING_OVERRIDE_GRANTED.name,
            actions.BILLING_ENTITLEMENTS_CHANGED.name,
            actions.BILLING_OVERRIDE_ENDED.name,
            actions.BILLING_ENTITLEMENTS_CHANGED.name,
        ]


def test_a_period_that_is_over_keeps_the_overrides_that_held_in_it(tenant: Tenant) -> None:
    with scope(tenant.organization):
        before = timezone.now()
        first = grant("key_limit", 60)
        second = grant("key_limit", 70)
        entitlements.end_override(actor=EVA, override_id=second.pk)
        at = [before, first.holds_from, second.holds_from, timezone.now()]
        assert [entitlements.effective(now=moment).columns["key_limit"] for moment in at] == [50, 60, 70, 50]


def test_a_second_override_of_one_key_ends_the_first(tenant: Tenant) -> None:
    with scope(tenant.organization):
        first, second = grant("key_limit", 60), grant("key_limit", 70, actor=EVA)
        assert column("key_limit") == 70
        first.refresh_from_db()
        assert (first.ended_by, second.ended_at) == ("eva@example.com", None)


@pytest.mark.django_db(transaction=True)
def test_two_people_who_grant_at_once_leave_one_override_and_its_value_in_the_column() -> None:
    tenant = make_tenant()

    def granting(value: int) -> Callable[[], int]:
        def act() -> int:
            with scope(tenant.organization):
                grant("key_limit", value)
            return value

        return act

    values = [60, 70, 80, 90]
    assert at_once(*(granting(value) for value in values)) == values
    with scope(tenant.organization):
        holds = EntitlementOverride.objects.get(ended_at=None)
        assert column("key_limit") == holds.value
        assert EntitlementOverride.objects.count() == 4
        assert EntitlementVersion.objects.get().number == 4


def test_an_override_stays_through_a_change_of_plan(tenant: Tenant) -> None:
    with scope(tenant.organization):
        grant("requests_per_minute", 9_000)
        subscribe("pro")
        entitlements.recompute(actor=SYSTEM)
        assert column("requests_per_minute") == 9_000


def test_a_feature_can_be_granted_and_taken_away(tenant: Tenant) -> None:
    with scope(tenant.organization):
        grant("feature:data_planes", value=True)
        assert column("features") == ["data_planes", "mcp"]
        grant("feature:mcp", value=False)
        assert column("features") == ["data_planes"]


def test_overage_granted_to_a_hard_plan_lifts_its_cap_and_taken_from_a_soft_one_sets_it(tenant: Tenant) -> None:
    with scope(tenant.organization):
        grant("overage:operations", "0.02")
        assert column("operation_limit") is None
        assert entitlements.effective().allowances[Allowance.OPERATIONS].overage == Decimal("0.02")
        subscribe("pro")
        grant("overage:operations", None)
        grant("included:operations", 300_000)
        assert column("operation_limit") == 300_000


def test_more_included_seats_are_more_members(tenant: Tenant) -> None:
    with scope(tenant.organization):
        grant("included:seats", 15)
        assert column("member_limit") == 15


def test_a_generous_override_waits_for_another_person_than_its_author(tenant: Tenant) -> None:
    with scope(tenant.organization):
        asked = grant("operation_limit", None)
        assert (column("operation_limit"), asked.holds_from) == (25_000, None)
        with pytest.raises(entitlements.ApprovalNeeded):
            entitlements.approve_override(actor=MAX, override_id=asked.pk)
        entitlements.approve_override(actor=EVA, override_id=asked.pk)
        entitlements.approve_override(actor=EVA, override_id=asked.pk)
        assert (column("operation_limit"), EntitlementOverride.objects.get().approver) == (None, "eva@example.com")
        assert trail() == [
            actions.BILLING_OVERRIDE_REQUESTED.name,
            actions.BILLING_OVERRIDE_GRANTED.name,
            actions.BILLING_ENTITLEMENTS_CHANGED.name,
        ]


def test_an_approver_can_be_named_at_once_but_is_never_the_author(tenant: Tenant) -> None:
    with scope(tenant.organization):
        with pytest.raises(entitlements.ApprovalNeeded):
            grant("operation_limit", None, approver=MAX)
        assert grant("operation_limit", None, approver=EVA).approver == "eva@example.com"
        assert column("operation_limit") is None


def test_what_waits_ends_nothing_that_holds_until_it_is_approved(tenant: Tenant) -> None:
    with scope(tenant.organization):
        grant("key_limit", 60)
        asked = grant("key_limit", 60_000)
        assert column("key_limit") == 60
        entitlements.approve_override(actor=EVA, override_id=asked.pk)
        assert column("key_limit") == 60_000
        assert EntitlementOverride.objects.filter(ended_at=None).get() == asked


def test_what_was_refused_or_has_expired_cannot_be_approved(tenant: Tenant) -> None:
    with scope(tenant.organization):
        refused, expired = grant("key_limit", 60_000), grant("project_limit", 60_000)
        entitlements.end_override(actor=EVA, override_id=refused.pk)
        EntitlementOverride.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
        for one in (refused, expired):
            with pytest.raises(entitlements.OverrideIsOver):
                entitlements.approve_override(actor=EVA, override_id=one.pk)
        assert (column("key_limit"), column("project_limit")) == (50, 5)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reason": " "}, "reason"),
        ({"expires_at": datetime(2026, 1, 1, tzinfo=UTC)}, "expires_at"),
        ({"value": -1}, "value"),
    ],
)
def test_an_override_without_reason_future_or_sense_changes_nothing(
    tenant: Tenant, changes: dict[str, Any], field: str
) -> None:
    with scope(tenant.organization):
        with pytest.raises(Invalid) as refusal:
            grant("key_limit", **{"value": 60} | changes)
        assert (refusal.value.field, column("key_limit"), trail()) == (field, 50, [])


def test_nobody_ends_another_organization_s_override(tenant: Tenant, stranger: Tenant) -> None:
    with scope(tenant.organization):
        granted = grant("key_limit", 60)
    for change in (entitlements.end_override, entitlements.approve_override):
        with scope(stranger.organization), pytest.raises(NotFound):
            change(actor=EVA, override_id=granted.pk)


def test_the_sweep_ends_what_has_expired_and_begins_new_periods(tenant: Tenant, stranger: Tenant) -> None:
    past = timezone.now() - timedelta(minutes=1)
    with scope(tenant.organization):
        grant("key_limit", 60)
        EntitlementOverride.objects.update(expires_at=past)
        assert entitlements.effective().columns["key_limit"] == 50  # before the sweep comes, it holds no longer
    with scope(stranger.organization):
        subscribe(period_start=past - timedelta(days=30), period_end=past)
        Organization.objects.update(period_start=past - timedelta(days=30), period_end=past)
    assert recompute_due() >= 2
    with scope(tenant.organization):
        assert column("key_limit") == 50
        assert EntitlementOverride.objects.get().ended_by == SYSTEM.label
        assert trail()[-2:] == [actions.BILLING_OVERRIDE_ENDED.name, actions.BILLING_ENTITLEMENTS_CHANGED.name]
    with scope(stranger.organization):
        assert column("period_start") == past
        assert column("period_end") > timezone.now()
    assert recompute_due() == 0


def test_one_organization_that_cannot_be_recomputed_does_not_keep_the_others(tenant: Tenant, stranger: Tenant) -> None:
    past = timezone.now() - timedelta(minutes=1)
    for one in (tenant, stranger):
        with scope(one.organization):
            grant("key_limit", 60)
            EntitlementOverride.objects.update(expires_at=past)
    with scope(tenant.organization):
        broken = subscribe("gold")
    with pytest.raises(entitlements.RecomputeFailed, match=str(tenant.organization.pk)):
        entitlements.recompute_due()
    with scope(stranger.organization):
        assert column("key_limit") == 50
    with scope(tenant.organization):
        broken.delete()
    assert entitlements.recompute_due() == 1


def test_a_version_counts_the_changes_that_a_data_plane_must_hear_of(tenant: Tenant) -> None:
    with scope(tenant.organization):
        grant("key_limit", 60)
        month_ago = timezone.now() - timedelta(days=20)
        payment_failed(
            actor=SYSTEM, invoice_ref="in_1", amount=1, currency="usd", failed_at=month_ago, now=timezone.now()
        )
        version = EntitlementVersion.objects.get()
        assert (version.number, version.content["access"], version.content["limits"]["key_limit"]) == (
            2,
            "read_only",
            60,
        )


KEYS = ("key_limit", "operation_limit", "included:operations", "overage:operations", "feature:data_planes")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "key_limit": st.integers(0, 250),
    "operation_limit": st.none() | st.integers(0, 10**6),
    "included:operations": st.integers(0, 10**6),
    "overage:operations": st.none() | st.sampled_from(["0.01", "0.2"]),
    "feature:data_planes": st.booleans(),
}
STEPS = st.sampled_from(KEYS).flatmap(lambda key: st.tuples(st.just(key), VALUES[key] | st.just("end")))


@given(steps=st.lists(STEPS, max_size=8), plan=st.sampled_from([FREE, "pro"]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_granted_and_ended_the_columns_say_what_is_effective(
    tenant: Tenant, steps: list[tuple[str, Any]], plan: str
) -> None:
    with transaction.atomic():
        with scope(tenant.organization):
            if plan != FREE:
                subscribe(plan)
                entitlements.recompute(actor=SYSTEM)
            held: dict[str, EntitlementOverride] = {}
            for key, value in steps:
                if value != "end":
                    held[key] = grant(key, value, approver=EVA)
                elif key in held:
                    entitlements.end_override(actor=MAX, override_id=held.pop(key).pk)
                organization = Organization.objects.get()
                entitled = entitlements.effective()
                assert {name: getattr(organization, name) for name in entitled.columns} == entitled.columns
                assert {one.key for one in entitled.overrides} == set(held)
            for one in held.values():
                entitlements.end_override(actor=MAX, override_id=one.pk)
            assert entitlements.effective().columns == entitlements.effective().base
        transaction.set_rollback(True)
