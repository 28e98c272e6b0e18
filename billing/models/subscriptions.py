"""Holds what an organization has subscribed to, and the documents that came of it; no live row means the free plan."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from billing import plans
from tenancy.scope import OwnedModel


class Status(models.TextChoices):
    """The state of a subscription, in Stripe's words."""

    INCOMPLETE = "incomplete", "Waiting for the first payment"
    INCOMPLETE_EXPIRED = "incomplete_expired", "Never paid"
    TRIALING = "trialing", "Trial"
    ACTIVE = "active", "Active"
    PAST_DUE = "past_due", "Payment overdue"
    UNPAID = "unpaid", "Unpaid"
    PAUSED = "paused", "Paused"
    CANCELED = "canceled", "Ended"


ENDED = (Status.CANCELED, Status.INCOMPLETE_EXPIRED)


class Interval(models.TextChoices):
    """How often the base price is paid."""

    MONTHLY = "monthly", "Monthly"
    YEARLY = "yearly", "Yearly"


class Source(models.TextChoices):
    """Who says that there is a subscription."""

    STRIPE = "stripe", "Stripe"
    CONTRACT = "contract", "Contract"
    MANUAL = "manual", "Staff"


class Subscription(OwnedModel):
    """A plan's version that an organization pays for; at most one that has not ended.

    `revision` grows with every change that we make, so that of two changes prepared side by side only one is made.
    """

    plan_key = models.CharField(max_length=32)
    plan_version = models.PositiveIntegerField()
    interval = models.CharField(max_length=8, choices=Interval.choices, default=Interval.MONTHLY)
    status = models.CharField(max_length=20, choices=Status.choices)
    seats = models.PositiveIntegerField(default=1)
    paid_seats = models.PositiveIntegerField(
        default=0
    )  # the most so far in this period: fewer cost no less until it ends
    seat_line_id = models.CharField(max_length=255, blank=True)  # Stripe's invoice item for seats added in this period
    seat_line_amount = models.BigIntegerField(default=0)  # minor units
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    trial_end = models.DateTimeField(null=True, blank=True)
    trial_reminders = models.JSONField(default=list, blank=True)  # the days before the end that were written about
    cancel_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    source = models.CharField(max_length=8, choices=Source.choices, default=Source.STRIPE)
    stripe_id = models.CharField(max_length=255, null=True, unique=True)  # noqa: DJ001  # unique where there is one
    schedule_id = models.CharField(max_length=255, blank=True)
    scheduled_plan_key = models.CharField(max_length=32, blank=True)
    scheduled_plan_version = models.PositiveIntegerField(null=True, blank=True)
    scheduled_interval = models.CharField(max_length=8, choices=Interval.choices, blank=True)
    scheduled_at = models.DateTimeField(null=True, blank=True)
    revision = models.PositiveIntegerField(default=0)
    change_token = models.CharField(max_length=64, blank=True)  # which preview made the last change: a digest
    synced_at = models.DateTimeField(null=True, blank=True)  # when it was last asked for at Stripe
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["organization"],
                condition=~models.Q(status__in=["canceled", "incomplete_expired"]),
                name="subscription_live_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan_key} v{self.plan_version} {self.status}"

    @property
    def plan(self) -> plans.Plan:
        """The version of the plan that it is on."""
        return plans.plan(self.plan_key, self.plan_version)


class Document(OwnedModel):
    """An invoice, credit note or refund as Stripe has it: what a list shows and where its PDF is."""

    class Kind(models.TextChoices):
        """What it is; a credit note is never overdue."""

        INVOICE = "invoice", "Invoice"
        CREDIT_NOTE = "credit_note", "Credit note"
        REFUND = "refund", "Refund"
        DISPUTE = "dispute", "Dispute"

    kind = models.CharField(max_length=16, choices=Kind.choices)
    stripe_id = models.CharField(max_length=255, unique=True)
    number = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=32, blank=True)
    currency = models.CharField(max_length=3)
    total = models.BigIntegerField()  # minor units; what a credit note or refund gives back is positive too
    tax = models.BigIntegerField(db_default=0)  # of the total
    amount_due = models.BigIntegerField(default=0)
    amount_paid = models.BigIntegerField(default=0)
    invoice_stripe_id = models.CharField(max_length=255, blank=True)  # what a credit note or refund belongs to
    billing_reason = models.CharField(
        max_length=32, blank=True, db_default=""
    )  # why there is an invoice, in Stripe's words
    page_url = models.TextField(blank=True)
    pdf_url = models.TextField(blank=True)
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)  # when an invoice was paid, made void or written off
    issued_at = models.DateTimeField()
    synced_at = models.DateTimeField()

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "-issued_at"], name="document_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.number or self.stripe_id}"
