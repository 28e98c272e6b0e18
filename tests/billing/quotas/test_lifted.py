"""Whoever was told that a cap is reached is told, once, when it holds nothing back any more."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.utils import timezone

from billing.metering.services import Use
from billing.quotas import notices, services, tasks
from billing.quotas.models import Counter, Notice
from billing.quotas.selectors import span_of
from billing.quotas.services import admit
from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.webhooks import services as webhooks
from tenancy.webhooks.models import Delivery
from tests.billing.quotas.conftest import limit
from tests.factories import Tenant
from tests.threads import at_once

Counting = Callable[..., Use]


def listen(tenant: Tenant) -> None:
    """An endpoint that wants everything."""
    with scope(tenant.organization):
        webhooks.create(actor=tenant.actor, url="https://hooks.example.com/")


def told(tenant: Tenant) -> list[tuple[str, int | None]]:
    """What was said of caps, in order: which type, and of which limit."""
    with scope(tenant.organization):
        bodies = Delivery.objects.filter(event__type__startswith="billing.cap.").order_by("number")
        rows = bodies.values_list("event__type", "event__body")
        return [(kind.rpartition(".")[2], orjson.loads(body)["data"]["limit"]) for kind, body in rows]


def next_period(tenant: Tenant) -> None:
    """Let a billing period begin a little later than the one before, and before this test's transaction."""
    with scope(tenant.organization):
        [before] = Organization.objects.values_list("period_start", flat=True)
        hour_ago = timezone.now() - timedelta(hours=1)
        start = before + timedelta(minutes=1) if before and before >= hour_ago else hour_ago
        Organization.objects.update(period_start=start, period_end=start + timedelta(days=30))


def cap(tenant: Tenant, amount: int, **more: Any) -> Any:
    """The customer's own cap on operations."""
    chosen: dict[str, Any] = {
        "allowance": "operations",
        "level": "organization",
        "subject_id": tenant.organization.pk,
    } | more
    with scope(tenant.organization):
        return services.set_cap(actor=tenant.actor, amount=amount, reaction="stop", **chosen)


def test_a_new_period_lifts_a_cap_and_says_so_once(tenant: Tenant, use: Counting) -> None:
    listen(tenant)
    limit(tenant, 4)
    admit(use(quantity=4))
    for _ in range(2):
        tasks.say_crossed()
    assert told(tenant) == [("reached", 4)]
    next_period(tenant)
    for _ in range(2):
        tasks.say_crossed()
    assert told(tenant) == [("reached", 4), ("lifted", 4)]
    admit(use(quantity=4))
    tasks.say_crossed()
    next_period(tenant)
    tasks.say_crossed()
    assert told(tenant) == [("reached", 4), ("lifted", 4)] * 2


def test_two_sweeps_at_once_say_it_once(committed: Tenant, use: Counting) -> None:
    listen(committed)
    limit(committed, 4)
    admit(use(quantity=4))
    notices.say_crossed()
    next_period(committed)
    said = at_once(*[notices.say_lifted] * 4)
    assert not [one for one in said if isinstance(one, Exception)]
    assert told(committed) == [("reached", 4), ("lifted", 4)]
    limit(committed, None)


def test_two_limits_of_one_thing_lift_together(tenant: Tenant, use: Counting) -> None:
    listen(tenant)
    limit(tenant, 5)
    cap(tenant, 5, level="project", subject_id=tenant.project.pk)
    cap(tenant, 4)
    admit(use(quantity=4))
    tasks.say_crossed()
    assert told(tenant) == [("reached", 4)]
    cap(tenant, 5)
    admit(use())
    tasks.say_crossed()
    assert sorted(told(tenant)[2:]) == [("reached", 5)] * 2, "of the organization and of the project"
    next_period(tenant)
    tasks.say_crossed()
    assert told(tenant)[4:] == [("lifted", 5)] * 2


def test_a_day_lifts_its_cap(tenant: Tenant, use: Counting) -> None:
    listen(tenant)
    cap(tenant, 2, span="day")
    admit(use(quantity=2))
    tasks.say_crossed()
    with scope(tenant.organization):
        Counter.objects.filter(span="day").update(starts_at=timezone.now() - timedelta(days=3))
        Notice.objects.update(starts_at=Counter.objects.get(span="day").starts_at)
    tasks.say_crossed()
    assert told(tenant) == [("reached", 2), ("lifted", 2)]


def test_a_larger_plan_lifts_its_cap(tenant: Tenant, use: Counting) -> None:
    listen(tenant)
    limit(tenant, 2)
    admit(use(quantity=2))
    tasks.say_crossed()
    limit(tenant, 1)
    tasks.say_crossed()
    assert told(tenant) == [("reached", 2), ("reached", 1)], "a smaller one holds as well"
    limit(tenant, None)
    for _ in range(2):
        tasks.say_crossed()
    assert told(tenant)[2:] == [("lifted", None)]


def test_a_cap_that_the_customer_raised_is_not_said_again(tenant: Tenant, use: Counting) -> None:
    listen(tenant)
    limit(tenant, None)
    cap(tenant, 2)
    admit(use(quantity=2))
    tasks.say_crossed()
    made = cap(tenant, 10)
    assert told(tenant) == [("reached", 2), ("lifted", 10)]
    next_period(tenant)
    tasks.say_crossed()
    with scope(tenant.organization):
        services.clear_cap(actor=tenant.actor, cap_id=made.pk)
    tasks.say_crossed()
    assert told(tenant) == [("reached", 2), ("lifted", 10), ("lifted", None)]


@pytest.mark.parametrize("is_deleted", [True, False])
def test_stored_bytes_lift_when_they_are_seen_below_their_cap(tenant: Tenant, *, is_deleted: bool) -> None:
    listen(tenant)
    limit(tenant, None)
    cap(tenant, 100, allowance="stored_bytes")
    seen = {"allowance": "stored_bytes", "level": "organization", "subject_id": tenant.organization.pk}
    with scope(tenant.organization):
        start = span_of("period").starts_at
        Counter.objects.create(**seen, span="sampled", starts_at=start, used=100)
    tasks.say_crossed()
    assert told(tenant) == [("reached", 100)]
    if is_deleted:
        with scope(tenant.organization):
            Counter.objects.filter(span="sampled").update(used=99)
    else:
        next_period(tenant)
        tasks.say_crossed()
        assert told(tenant) == [("reached", 100)], "nobody has looked yet"
        with scope(tenant.organization):
            Counter.objects.create(**seen, span="sampled", starts_at=span_of("period").starts_at, used=50)
    for _ in range(2):
        tasks.say_crossed()
    assert told(tenant) == [("reached", 100), ("lifted", 100)]
