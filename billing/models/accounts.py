"""Holds who pays: the one link between an organization and its customer at Stripe, and whom invoices name."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from tenancy.scope import OwnedModel


class SeatPolicy(models.TextChoices):
    """Which people are paid for."""

    NAMED = "named", "Every member"
    USED = "used", "Members who signed in during the period"
    HIGH_WATER = "high_water", "The most members at once during the period"


class BillingAccount(OwnedModel):
    """An organization as a payer.

    `stripe_customer_id` is the authoritative link: whatever a customer's metadata says at Stripe cannot move it. What
    it says instead is kept in `link_alarm` until somebody has looked (blank: it agrees).
    """

    stripe_customer_id = models.CharField(max_length=255, null=True, unique=True)  # noqa: DJ001  # unique where known
    link_alarm = models.CharField(max_length=255, blank=True)
    currency = models.CharField(max_length=3, default="usd")
    legal_name = models.CharField(max_length=200, blank=True)
    invoice_emails = ArrayField(models.EmailField(), default=list, blank=True)
    po_number = models.CharField(max_length=64, blank=True)
    address = models.JSONField(
        default=dict, blank=True
    )  # Stripe's words: line1, line2, city, state, postal_code, country
    tax_ids = models.JSONField(default=list, blank=True)  # [{"type": "eu_vat", "value": "…", "status": "verified"}]
    seat_policy = models.CharField(max_length=16, choices=SeatPolicy.choices, default=SeatPolicy.NAMED)
    seat_high_water = models.PositiveIntegerField(default=0)  # of the period that runs
    has_payment_method = models.BooleanField(default=False)
    method_seen_at = models.DateTimeField(null=True, blank=True)  # when that was last asked for at Stripe
    checkout_id = models.CharField(max_length=255, blank=True)  # the page that is open, if any
    has_had_trial = models.BooleanField(default=False)
    synced_at = models.DateTimeField(null=True, blank=True)  # when the customer was last asked for at Stripe
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization"], name="billing_account_once"),
        ]

    def __str__(self) -> str:
        return self.stripe_customer_id or str(self.organization_id)
