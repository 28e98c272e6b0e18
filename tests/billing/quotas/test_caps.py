"""Customers choose caps within their plan, for the organization, a project or a key, for a period or a day."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.services import Use
from billing.quotas import selectors, services
from billing.quotas.models import Cap, Watch
from billing.quotas.services import FeatureMissing, QuotaReached, admit
from tenancy.access import reset_key_cache
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit, used
from tests.factories import Tenant

Counting = Callable[..., Use]


def cap(tenant: Tenant, amount: int, reaction: str = "stop", **values: Any) -> Cap:
    """Choose a cap; for the organization and a period unless told otherwise."""
    chosen: dict[str, Any] = {"allowance": "operations", "level": "organization", "subject_id": tenant.organization.pk}
    chosen |= values
    with scope(tenant.organization):
        return services.set_cap(actor=tenant.actor, amount=amount, reaction=reaction, **chosen)


def events(tenant: Tenant, action: actions.Action) -> list[AuditEvent]:
    """The trail of one action, oldest first."""
    with scope(tenant.organization):
        return list(AuditEvent.objects.filter(action=action.name).order_by("id"))


def test_a_cap_is_chosen_changed_and_cleared_and_each_is_audited(tenant: Tenant) -> None:
    first = cap(tenant, 10)
    assert cap(tenant, 20, "warn").pk == first.pk
    cap(tenant, 20, "warn")
    with scope(tenant.organization):
        assert [(one.amount, one.reaction) for one in selectors.caps()] == [(20, "warn")]
        services.clear_cap(actor=tenant.actor, cap_id=first.pk)
        assert selectors.caps() == []
        with pytest.raises(NotFound):
            services.clear_cap(actor=tenant.actor, cap_id=first.pk)
    made, changed = events(tenant, actions.CAP_SET)
    assert {name: before for name, (before, _) in changed.changes.items()} == {"amount": 10, "reaction": "stop"}
    assert made.target["label"] == tenant.organization.name
    assert len(events(tenant, actions.CAP_CLEARED)) == 1


def test_a_changed_cap_comes_with_the_key(tenant: Tenant) -> None:
    before = tenant.principal.caps_version
    cap(tenant, 10)
    reset_key_cache()
    assert tenant.principal.caps_version == before + 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"amount": -1}, "amount"),
        ({"amount": 2**63}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": 25_001}, "amount"),
        ({"reaction": "explode"}, "reaction"),
        ({"allowance": "gold"}, "allowance"),
        ({"allowance": "seats"}, "allowance"),
        ({"level": "planet"}, "level"),
        ({"span": "week"}, "span"),
    ],
)
def test_what_is_no_cap_or_above_the_plan_is_refused(tenant: Tenant, values: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        cap(tenant, **{"amount": 1, **values})
    assert refused.value.field == field


def test_a_cap_is_on_one_s_own_things_alone(tenant: Tenant, stranger: Tenant) -> None:
    for level, subject_id in (
        ("organization", stranger.organization.pk),
        ("project", stranger.project.pk),
        ("key", stranger.key.pk),
        ("project", tenant.key.pk),
        ("key", uuid.uuid4()),
    ):
        with pytest.raises(NotFound):
            cap(tenant, 1, level=level, subject_id=subject_id)


def test_writes_are_parked_where_the_plan_has_it_alone(tenant: Tenant) -> None:
    with pytest.raises(FeatureMissing):
        cap(tenant, 1, "park")
    with scope(tenant.organization):
        Organization.objects.update(features=["parked_writes"])
    assert cap(tenant, 1, "park").reaction == "park"


def test_the_narrowest_cap_stops(tenant: Tenant, use: Counting) -> None:
    cap(tenant, 5)
    cap(tenant, 3, level="project", subject_id=tenant.project.pk)
    cap(tenant, 2, level="key", subject_id=tenant.key.pk, span="day")
    assert admit(use(quantity=2)).remaining == 0
    with pytest.raises(QuotaReached, match="The API key has used its 2 operations of this day"):
        admit(use())
    other = Use(tenant.organization.pk, tenant.project.pk, None, Meter.INGEST)
    assert admit(other).remaining == 0
    with pytest.raises(QuotaReached, match="The project has used its 3 operations of this billing period"):
        admit(other)
    elsewhere = Use(tenant.organization.pk, uuid.uuid4(), None, Meter.INGEST, 2)
    admit(elsewhere)
    with pytest.raises(QuotaReached, match="The organization has used its 5 operations of this billing period"):
        admit(elsewhere)
    assert used(tenant) == 5


def test_a_soft_cap_lets_writes_go_on(tenant: Tenant, use: Counting) -> None:
    limit(tenant, None)
    cap(tenant, 2, "warn")
    assert [admit(use()).remaining for _ in range(4)] == [1, 0, 0, 0]
    assert used(tenant) == 4


def test_a_throttle_is_said_with_the_receipt(tenant: Tenant, use: Counting) -> None:
    cap(tenant, 2, "throttle")
    assert [admit(use()).is_throttled for _ in range(3)] == [False, False, True]


def test_a_raised_cap_lets_writes_go_on_at_once(tenant: Tenant, use: Counting) -> None:
    cap(tenant, 1)
    admit(use())
    with pytest.raises(QuotaReached):
        admit(use())
    cap(tenant, 2)
    admit(use())


def test_every_operation_of_the_allowance_counts(tenant: Tenant, use: Counting) -> None:
    cap(tenant, 4)
    for meter in (Meter.INGEST, Meter.SEAL, Meter.IMPORT, Meter.RECALL):
        admit(use(meter))
    for meter in (Meter.INGEST, Meter.SEAL, Meter.IMPORT):
        with pytest.raises(QuotaReached):
            admit(use(meter))
    cap(tenant, 1, allowance="documents")
    admit(use(Meter.DOCUMENT))
    with pytest.raises(QuotaReached):
        admit(use(Meter.DOCUMENT))


@pytest.mark.parametrize(
    ("start", "end", "since"),
    [
        (None, None, "calendar"),
        (timedelta(days=-3), timedelta(days=20), timedelta(days=-3)),
        (timedelta(days=-40), timedelta(days=-9), timedelta(days=-9)),
        (timedelta(days=3), timedelta(days=20), "calendar"),
    ],
)
def test_the_billing_period_is_stripe_s_or_the_month(tenant: Tenant, start: Any, end: Any, since: Any) -> None:
    now = timezone.now()
    limit(tenant, 10, period_start=start and now + start, period_end=end and now + end)
    with scope(tenant.organization):
        period = selectors.billing_period()
    if since == "calendar":
        assert period.starts_at == now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    else:
        assert period.starts_at == now + since
    assert period.starts_at <= now < period.ends_at
    assert timedelta(days=22) < period.ends_at - period.starts_at < timedelta(days=32)


def test_periods_after_a_short_month_keep_their_day(tenant: Tenant) -> None:
    limit(tenant, 10, period_start=datetime(2024, 12, 31, tzinfo=UTC), period_end=datetime(2025, 1, 31, tzinfo=UTC))
    with scope(tenant.organization):
        period = selectors.billing_period()
    assert period.ends_at.day >= 28
    assert (period.ends_at + timedelta(days=1)).day in {1, 29, 30, 31} or period.ends_at.day == 31


def test_percentages_are_chosen(tenant: Tenant) -> None:
    with scope(tenant.organization):
        services.set_watch(actor=tenant.actor, allowance="operations", percents=[90, 50, 90])
        services.set_watch(actor=tenant.actor, allowance="operations", percents=[70])
        assert Watch.objects.get().percents == [70]
        for wrong in ([0], [1001], list(range(1, 12))):
            with pytest.raises(Invalid):
                services.set_watch(actor=tenant.actor, allowance="operations", percents=wrong)
        with pytest.raises(Invalid):
            services.set_watch(actor=tenant.actor, allowance="gold", percents=[1])
    assert [event.changes["percents"][1] for event in events(tenant, actions.WATCH_SET)] == [[50, 90], [70]]
