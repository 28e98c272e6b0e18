"""Reads what the organization in scope pays for, and what stands against a smaller plan."""

from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.selectors import totals
from billing.models import ENDED, BillingAccount, Document, Subscription
from billing.plans import Plan
from tenancy.models import ApiKey, Membership, Project

SAMPLES = timedelta(days=2)  # what is stored is sampled once a day


def account() -> BillingAccount | None:
    """Who pays, if anybody ever has."""
    return BillingAccount.objects.first()


def live() -> Subscription | None:
    """The subscription that has not ended; None is the free plan."""
    return Subscription.objects.exclude(status__in=ENDED).first()


def documents(kind: str | None = None) -> QuerySet[Document]:
    """Invoices, credit notes and refunds, newest first."""
    found = Document.objects.order_by("-issued_at", "-id")
    return found.filter(kind=kind) if kind else found


def blockers(plan: Plan) -> list[str]:
    """Why the organization in scope does not fit into the plan now, in sentences; empty when it does."""
    now = timezone.now()
    used = {
        "project_limit": (Project.objects.filter(archived_at=None).count(), "projects", "archive"),
        "member_limit": (Membership.objects.count(), "members", "remove"),
        "key_limit": (
            ApiKey.objects.filter(revoked_at=None).exclude(expires_at__lte=now).count(),
            "API keys",
            "revoke",
        ),
    }
    columns = plan.columns
    reasons = [
        f"There are {count} {name} and {plan.name} has {columns[column]}: {verb} {count - columns[column]} first."
        for column, (count, name, verb) in used.items()
        if columns.get(column) is not None and count > columns[column]
    ]
    most = columns["stored_byte_limit"]
    stored = totals(now - SAMPLES, now).meters.get(Meter.STORED_BYTES, 0)
    if most is not None and stored > most:
        reasons.append(f"{stored:,} bytes are stored and {plan.name} has {most:,}: delete {stored - most:,} first.")
    return reasons
