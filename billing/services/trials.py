"""Reminds of the end of a trial: seven, three and one day before, once each."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from billing import announcements, letters
from billing.models import BillingAccount, Status, Subscription
from billing.services.projection import target_of
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, record
from tenancy.clock import furthest
from tenancy.scope import scope, unscoped
from tenancy.selectors import organization

DAYS = (7, 3, 1)
log = logging.getLogger("billing")


def remind_due(*, now: datetime | None = None) -> int:
    """Write to everybody whose trial ends within seven days and who has not been told so; how many letters."""
    now = now or timezone.now()
    latest = furthest(now) + timedelta(days=DAYS[0])
    with unscoped(reason="find trials that end soon") as wide:
        due = [row["organization_id"] for row in wide.rows("billing_trials_ending", latest)]
    return sum(remind(organization_id=organization_id, now=now) for organization_id in due)


def remind(*, organization_id: UUID, now: datetime) -> bool:
    """Write to one organization if, at the real moment `now`, it is its turn; whether it was."""
    with scope(organization_id):
        now = organization().at(now)
        row = Subscription.objects.select_for_update(no_key=True).filter(status=Status.TRIALING).first()
        if row is None or row.trial_end is None or row.trial_end <= now:
            return False
        left = row.trial_end - now
        passed = [days for days in DAYS if left <= timedelta(days=days)]
        if not passed or passed[-1] in row.trial_reminders:
            return False
        row.trial_reminders = sorted({*row.trial_reminders, *passed}, reverse=True)
        row.save(update_fields=["trial_reminders"])
        account = BillingAccount.objects.first()
        letters.send(
            template="trial_ending",
            subject=f"Your trial ends {_in(left)}",
            context={"subscription": row, "has_card": bool(account and account.has_payment_method)},
        )
        metadata = {"days": passed[-1]}
        record(action=actions.BILLING_TRIAL_REMINDED, actor=SYSTEM, target=target_of(row), metadata=metadata)
        announcements.trial_ending(
            plan=row.plan_key, ends_at=row.trial_end, continues=row.cancel_at is None, days=passed[-1]
        )
        return True


def _in(left: timedelta) -> str:
    days = round(left / timedelta(days=1))
    return f"in {days} days" if days > 1 else "tomorrow" if days else "today"
