"""Holds what is owed, and how far an organization has come for it."""

from typing import ClassVar

from django.db import models

from billing.dunning_terms import DunningState
from tenancy.scope import OwnedModel


class Debt(OwnedModel):
    """An invoice as far as its payment goes: since when it is owed, until it is settled; that is for good."""

    invoice_ref = models.CharField(max_length=255)
    amount = models.BigIntegerField(default=0)  # minor units
    currency = models.CharField(max_length=3)
    pay_url = models.TextField(blank=True)
    is_by_card = models.BooleanField(db_default=True)  # or by transfer, which has a date and terms of its own
    failed_at = models.DateTimeField(null=True, blank=True)  # the first time; or the date until which to transfer
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "invoice_ref"], name="debt_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "failed_at"], name="debt_open", condition=models.Q(settled_at=None)),
        ]

    def __str__(self) -> str:
        return self.invoice_ref


class Dunning(OwnedModel):
    """Where an organization stands; no row means that it never owed anything.

    `terms` are those agreed with it, in the words of `dunning_terms.Terms`; empty means those of the way to pay.
    """

    STATES = [(state.value, state.value.replace("_", " ").capitalize()) for state in DunningState]

    state = models.CharField(max_length=16, choices=STATES, default=DunningState.OK.value)
    since = models.DateTimeField()
    terms = models.JSONField(default=dict)
    seen_at = models.DateTimeField(null=True, blank=True)  # the latest moment it was looked at: time never goes back
    told_at = models.DateTimeField(null=True, blank=True)  # the moment on the ladder that we last wrote about
    next_at = models.DateTimeField(null=True, blank=True)  # when the sweep looks again

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization"], name="dunning_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "next_at"], name="dunning_due", condition=~models.Q(next_at=None)),
        ]

    def __str__(self) -> str:
        return str(self.state)
