"""Holds contracts, invoices and their lines; what an invoice says is fixed once it is open."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from tenancy.scope import OwnedModel


class CommitPaid(models.TextChoices):
    """When a commit is paid: either way a step costs what was used in it, and the commit at least."""

    PREPAID = "prepaid", "With the first invoice of its step; use is taken from it"
    TRUE_UP = "true_up", "What is missing, with the last invoice of its step"


class Contract(OwnedModel):
    """What was agreed with one customer, for whole months from `starts_at` on.

    `steps` are the ramp: `[{"months": 12, "commit": 1200000}, …]`, minor units for each whole step. `allowances` and
    `limits` stand in the plan's place; their words are those of billing/plans.py.
    """

    subscription = models.OneToOneField(
        "billing.Subscription", null=True, on_delete=models.PROTECT, related_name="contract"
    )  # null: it has not begun
    reference = models.CharField(max_length=64)
    plan_key = models.CharField(max_length=32)
    plan_version = models.PositiveIntegerField()
    currency = models.CharField(max_length=3)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()  # the end of the last step, or of the period in which it was ended early
    steps = models.JSONField()
    commit_paid = models.CharField(max_length=8, choices=CommitPaid.choices, default=CommitPaid.TRUE_UP)
    fee = models.BigIntegerField()  # minor units each month
    seats = models.PositiveIntegerField(db_default=1)  # at its start; `Agreed` has what they became
    seat_price = models.BigIntegerField(null=True, blank=True)  # minor units a month; null: the plan's
    allowances = models.JSONField(default=dict)  # {"operations": {"quantity": 5, "overage": "0.004" or null}}
    limits = models.JSONField(default=dict)  # columns of Organization
    net_days = models.PositiveSmallIntegerField(default=30)
    po_number = models.CharField(max_length=64, blank=True)
    contact = models.CharField(max_length=254, blank=True, db_default="")  # whom of us the customer may ask
    author = models.CharField(max_length=254)
    created_at = models.DateTimeField(default=timezone.now)
    ended_early_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=500, blank=True)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "reference"], name="contract_reference_once"),
            models.CheckConstraint(condition=models.Q(ends_at__gt=models.F("starts_at")), name="contract_has_time"),
            models.CheckConstraint(condition=models.Q(fee__gte=0), name="contract_fee_is_no_credit"),
        ]

    def __str__(self) -> str:
        return self.reference


class Agreed(OwnedModel):
    """What a subscription that Stripe does not collect is on from `since` until the next one: it is billed by that."""

    subscription = models.ForeignKey("billing.Subscription", on_delete=models.CASCADE, related_name="agreed")
    since = models.DateTimeField()
    plan_key = models.CharField(max_length=32)
    plan_version = models.PositiveIntegerField()
    seats = models.PositiveIntegerField()
    author = models.CharField(max_length=254)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["subscription", "since"], name="agreed_once_a_moment"),
        ]

    def __str__(self) -> str:
        return f"{self.plan_key} v{self.plan_version}, {self.seats} seats"


class Invoice(OwnedModel):
    """What one period of an organization costs; amounts are minor units of `currency`, without tax.

    A draft holds the terms that the period ended with. It gets its lines and its number when it is opened, and
    from then on PostgreSQL lets nobody change what it says: only what became of it.
    """

    class State(models.TextChoices):
        """What became of it, in Stripe's words."""

        DRAFT = "draft", "Draft"
        OPEN = "open", "Open"
        PAID = "paid", "Paid"
        VOID = "void", "Void"
        UNCOLLECTIBLE = "uncollectible", "Written off"

    class Source(models.TextChoices):
        """Who collects the money."""

        STRIPE = "stripe", "Stripe"
        MANUAL = "manual", "Bank transfer"

    purge_function = "invoicing_invoice_purge"
    number = models.CharField(max_length=32, null=True, unique=True)  # noqa: DJ001  # unique once it is open
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.DRAFT)
    source = models.CharField(max_length=8, choices=Source.choices)
    currency = models.CharField(max_length=3)
    contract = models.ForeignKey(Contract, null=True, on_delete=models.PROTECT, related_name="invoices")
    terms = models.JSONField()  # terms.Terms as JSON
    watermark = models.TextField(blank=True)  # the snapshot of PostgreSQL that use was counted in
    subtotal = models.BigIntegerField(default=0)  # the lines without credits
    credited = models.BigIntegerField(default=0)  # what credits have paid; below 0: what was given as credits
    total = models.BigIntegerField(default=0)  # what is to be paid: subtotal - credited, never below 0
    po_number = models.CharField(max_length=64, blank=True)
    stripe_id = models.CharField(max_length=255, null=True, unique=True)  # noqa: DJ001  # unique where there is one
    page_url = models.TextField(blank=True)
    pdf_url = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    issued_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)  # paid, void or written off
    settlement = models.CharField(max_length=500, blank=True)  # how: a bank's reference, or why it is void
    # What Stripe's invoice of the period bills by meters: {"operations": {"quantity": 5, "amount": 0}}; null: not asked
    at_stripe = models.JSONField(null=True, blank=True)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "period_start"], name="invoice_once_a_period"),
            models.CheckConstraint(
                condition=models.Q(period_end__gt=models.F("period_start")), name="invoice_period_has_time"
            ),
            models.CheckConstraint(
                condition=models.Q(total__gte=0, total=models.F("subtotal") - models.F("credited")),
                name="invoice_adds_up",
            ),
            models.CheckConstraint(
                condition=models.Q(state="draft", number=None) | ~models.Q(state="draft"), name="draft_has_no_number"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "-period_end"], name="invoice_newest"),
            models.Index(fields=["period_end"], name="invoice_to_open", condition=models.Q(state="draft")),
            models.Index(
                fields=["organization"],
                name="invoice_to_compare",
                condition=models.Q(source="stripe", at_stripe__isnull=True) & ~models.Q(state="draft"),
            ),
        ]

    def __str__(self) -> str:
        return self.number or f"draft of {self.period_start:%Y-%m-%d}"


class InvoiceLine(OwnedModel):
    """One line: `amount` is `quantity` times `unit_price`, rounded once, less what a prepaid commit has `covered`.

    `remainder` is what the rounding left: amount + covered + remainder = quantity * unit_price, exactly. `how` says how
    the quantity was computed. `period_start` is that of the period it is for: an adjustment is for an earlier one.
    """

    class Kind(models.TextChoices):
        """What it is for. Adjustments may lower an invoice, credits pay it; nothing else is below zero."""

        PLAN = "plan", "Plan"
        SEATS = "seats", "Seats"
        USAGE = "usage", "Usage"
        COMMIT = "commit", "Commit"
        TRUE_UP = "true_up", "True-up"
        ADJUSTMENT = "adjustment", "Adjustment"
        CREDIT = "credit", "Credit"

    purge_function = "invoicing_invoiceline_purge"
    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines")
    place = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    allowance = models.CharField(max_length=32, blank=True)  # of billing/plans.py, for usage, seats and adjustments
    period_start = models.DateTimeField()
    description = models.CharField(max_length=300)
    quantity = models.BigIntegerField()
    unit_price = models.DecimalField(max_digits=24, decimal_places=12)  # minor units
    covered = models.BigIntegerField(default=0)
    amount = models.BigIntegerField()
    remainder = models.DecimalField(max_digits=13, decimal_places=12)
    how = models.JSONField()

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["invoice", "place"], name="invoice_line_place_once"),
            models.CheckConstraint(
                condition=models.Q(amount__gte=0) | models.Q(kind__in=["adjustment", "credit"]),
                name="invoice_line_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(covered__gte=0) | models.Q(kind="adjustment"),
                name="invoice_line_covered_not_negative",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "period_start"], name="invoice_lines_of_a_period"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"


class LateCharge(OwnedModel):
    """What a line of ours says and Stripe's invoice of the period did not bill: an item of its next invoice, once.

    `amount` is minor units of the invoice's currency; below zero Stripe gives it back.
    """

    line = models.OneToOneField(InvoiceLine, on_delete=models.CASCADE, related_name="late_charge")
    amount = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)
    first_sent_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    stripe_id = models.CharField(max_length=255, blank=True)  # the invoice item's

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=~models.Q(amount=0), name="late_charge_of_something"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization"], name="late_charge_waiting", condition=models.Q(delivered_at=None)),
        ]

    def __str__(self) -> str:
        return f"late {self.amount}"
