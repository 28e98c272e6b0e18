"""Seven, three and one day before a trial ends somebody is told, once each."""

from datetime import datetime, timedelta

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing.models import Status, Subscription
from billing.services.trials import remind_due
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.factories import Tenant


@pytest.fixture
def ends_at(tenant: Tenant) -> datetime:
    """When the tenant's trial ends: in 14 days."""
    now = timezone.now()
    end = now + timedelta(days=14)
    with scope(tenant.organization):
        Subscription.objects.create(
            plan_key="pro", plan_version=1, status=Status.TRIALING, period_start=now, period_end=end, trial_end=end
        )
    return end


def test_a_trial_s_end_is_told_seven_three_and_one_day_before(
    tenant: Tenant, ends_at: datetime, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    told = []
    for hours in range(8 * 24, 0, -6):
        with scope(tenant.organization):
            # the function that finds them looks at the real clock
            Subscription.objects.update(trial_end=timezone.now() + timedelta(hours=hours))
        before = len(mail.outbox)
        with django_capture_on_commit_callbacks(execute=True):
            remind_due()
        told += [(hours, one.subject) for one in mail.outbox[before:]]
    assert told == [
        (168, "Your trial ends in 7 days"),
        (72, "Your trial ends in 3 days"),
        (24, "Your trial ends tomorrow"),
    ]
    with scope(tenant.organization):
        assert AuditEvent.objects.filter(action=actions.BILLING_TRIAL_REMINDED.name).count() == 3
        assert Subscription.objects.get().trial_reminders == [7, 3, 1]


def test_a_trial_that_is_found_late_is_told_about_once(
    tenant: Tenant, ends_at: datetime, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        remind_due(now=ends_at - timedelta(days=2))
        remind_due(now=ends_at - timedelta(days=2))
    assert [one.subject for one in mail.outbox] == ["Your trial ends in 2 days"]
    assert "no card" in mail.outbox[0].body


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.CANCELED])
def test_nobody_is_told_about_a_trial_that_is_over(tenant: Tenant, ends_at: datetime, status: str) -> None:
    with scope(tenant.organization):
        Subscription.objects.update(status=status)
    assert remind_due(now=ends_at - timedelta(days=2)) == 0
