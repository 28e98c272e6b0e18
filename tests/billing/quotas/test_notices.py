"""Customers hear of a threshold once, and of unusual use as long as it lasts once."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.metering.services import Use
from billing.quotas import notices, selectors, services
from billing.quotas.models import Notice
from billing.quotas.services import admit
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import NotFound
from tenancy.roles import Role
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit
from tests.factories import Tenant, add_member
from tests.threads import at_once

Counting = Callable[..., Use]
Committing = Any


def said(tenant: Tenant) -> list[str]:
    """The notices, oldest first."""
    with scope(tenant.organization):
        return [notice.sentence for notice in reversed(selectors.notices())]


def new(tenant: Tenant, sweep: Callable[[], Any] = notices.say_crossed) -> int:
    """How many notices a sweep makes for the tenant; others may have theirs meanwhile."""
    before = len(percents(tenant))
    sweep()
    return len(percents(tenant)) - before


def letters(tenant: Tenant) -> list[Any]:
    """The mails to the owner."""
    return [letter for letter in mail.outbox if letter.to == [tenant.owner.email]]


def percents(tenant: Tenant) -> list[int]:
    """Of the threshold notices, in order."""
    with scope(tenant.organization):
        return list(Notice.objects.order_by("id").values_list("percent", flat=True))


def test_each_threshold_is_said_once(
    tenant: Tenant, use: Counting, django_capture_on_commit_callbacks: Committing
) -> None:
    limit(tenant, 10)
    admit(use(quantity=4))
    assert new(tenant) == 0
    admit(use())
    with django_capture_on_commit_callbacks(execute=True):
        assert new(tenant) == 1
    assert new(tenant) == 0
    [sentence] = said(tenant)
    assert sentence == "50 % of the 10 operations of your organization are used this billing period"
    [letter] = letters(tenant)
    assert letter.subject == sentence
    assert f"/o/{tenant.organization.slug}/billing/" in letter.body


def test_of_several_crossed_at_once_the_highest_is_mailed(
    tenant: Tenant, use: Counting, django_capture_on_commit_callbacks: Committing
) -> None:
    limit(tenant, 10)
    admit(use(quantity=10))
    with django_capture_on_commit_callbacks(execute=True):
        assert new(tenant) == 3
    assert percents(tenant) == [50, 80, 100]
    [letter] = letters(tenant)
    assert letter.subject.startswith("100 % of the 10 operations")
    assert "recalls and reads go on" in letter.body


def test_a_changed_limit_is_watched_again(tenant: Tenant, use: Counting) -> None:
    limit(tenant, 10)
    admit(use(quantity=8))
    assert new(tenant) == 2
    limit(tenant, 16)
    assert new(tenant) == 1
    assert percents(tenant) == [50, 80, 50]
    limit(tenant, 10)
    assert new(tenant) == 0, "that was said"


def test_customers_choose_when_to_be_told(tenant: Tenant, use: Counting) -> None:
    limit(tenant, 10)
    with scope(tenant.organization):
        services.set_watch(actor=tenant.actor, allowance="operations", percents=[30, 120])
    admit(use(quantity=9))
    assert new(tenant) == 1
    admit(use(Meter.RECALL, quantity=3))
    assert new(tenant) == 1
    assert percents(tenant) == [30, 120]


def test_a_cap_of_one_s_own_is_watched_too(tenant: Tenant, use: Counting) -> None:
    with scope(tenant.organization):
        services.set_cap(
            actor=tenant.actor,
            allowance="operations",
            level="key",
            subject_id=tenant.key.pk,
            amount=4,
            reaction="warn",
            span="day",
        )
    admit(use(quantity=2))
    assert new(tenant) == 1
    [sentence] = said(tenant)
    assert sentence == f"50 % of the 4 operations of the API key Test ({tenant.key.hint}…) are used today"


def test_sweeps_at_once_say_it_once(committed: Tenant, use: Counting) -> None:
    limit(committed, 10)
    admit(use(quantity=10))
    assert not [result for result in at_once(*[notices.say_crossed] * 3) if isinstance(result, Exception)]
    assert sorted(percents(committed)) == [50, 80, 100]


def test_a_notice_is_put_away_by_its_own_organization(tenant: Tenant, stranger: Tenant, use: Counting) -> None:
    limit(tenant, 10)
    admit(use(quantity=5))
    notices.say_crossed()
    with scope(tenant.organization):
        [notice] = selectors.notices()
        for _ in range(2):
            services.dismiss(actor=tenant.actor, notice_id=notice.pk)
        assert selectors.notices() == []
        assert selectors.notices(with_dismissed=True) == [notice]
        assert AuditEvent.objects.filter(action=actions.NOTICE_DISMISSED.name).count() == 1
    with scope(stranger.organization), pytest.raises(NotFound):
        services.dismiss(actor=stranger.actor, notice_id=notice.pk)


def hours(tenant: Tenant, quantities: dict[int, int], meter: Meter = Meter.RECALL) -> datetime:
    """Store hourly sums, so many hours ago; returns the hour under way."""
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    with scope(tenant.organization):
        UsageHour.objects.bulk_create(
            UsageHour(
                project_id=tenant.project.pk,
                key_id=tenant.key.pk,
                meter=meter,
                hour=now - timedelta(hours=ago),
                quantity=quantity,
                events=quantity,
            )
            for ago, quantity in quantities.items()
        )
    return now


def steady(ago: int) -> int:
    """A quiet key's hour: 280 to 320."""
    return 300 + (ago * 7) % 41 - 20


def test_unusual_use_is_said_once_with_its_beginning(
    tenant: Tenant, django_capture_on_commit_callbacks: Committing
) -> None:
    viewer = add_member(tenant, Role.VIEWER)
    week = {ago: steady(ago) for ago in range(3, 168)} | {2: 1900, 1: 2100}
    now = hours(tenant, week)
    with django_capture_on_commit_callbacks(execute=True):
        assert new(tenant, lambda: notices.say_unusual(now=now)) == 1
    assert new(tenant, lambda: notices.say_unusual(now=now)) == 0
    begun = now - timedelta(hours=2)
    [sentence] = said(tenant)
    expected = f"recall x7 since {begun:%H:%M} UTC, key Test ({tenant.key.hint}…): 2,100 in an hour, usually 300"
    assert sentence == expected
    assert len(letters(tenant)) == 1
    assert not [letter for letter in mail.outbox if letter.to == [viewer.email]], "who looks after the bills"
    hours(tenant, {0: 2500})
    assert new(tenant, lambda: notices.say_unusual(now=now + timedelta(minutes=30))) == 0, "it lasts"


@pytest.mark.parametrize(
    "week",
    [
        {ago: steady(ago) for ago in range(168)},
        dict.fromkeys(range(2, 168), 20) | {1: 95},
        {ago: 100 * (ago % 9) for ago in range(2, 168)} | {1: 900},
        {5: 300, 1: 3000},
    ],
    ids=["steady", "small", "always changing", "younger than a day"],
)
def test_usual_use_is_not_said(tenant: Tenant, week: dict[int, int]) -> None:
    now = hours(tenant, week)
    assert new(tenant, lambda: notices.say_unusual(now=now)) == 0
    assert said(tenant) == []


def test_one_sweep_is_for_everybody(tenant: Tenant, stranger: Tenant) -> None:
    for one, meter in ((tenant, Meter.INGEST), (stranger, Meter.RECALL)):
        now = hours(one, {ago: steady(ago) for ago in range(2, 168)} | {1: 3000}, meter)
    assert (new(tenant, lambda: notices.say_unusual(now=now)), len(said(stranger))) == (1, 1)
    assert (said(tenant)[0][:10], said(stranger)[0][:10]) == ("ingest x10", "recall x10")
