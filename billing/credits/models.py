"""Holds the credits ledger: accounts, grants, and transactions whose entries sum to zero."""

from django.db import models
from django.utils import timezone

from tenancy.scope import OwnedModel


class Category(models.TextChoices):
    """Where credits come from; each is also the account that they come out of."""

    PAID = "paid", "Paid"
    PROMOTIONAL = "promotional", "Promotional"
    ADJUSTMENT = "adjustment", "Adjustment"


class AccountKind(models.TextChoices):
    """What an account says. Sources and what is owed go below zero, the others never do, and together they are zero."""

    PAID = "paid", "Paid in"
    PROMOTIONAL = "promotional", "Given as a promotion"
    ADJUSTMENT = "adjustment", "Given as an adjustment"
    BALANCE = "balance", "Balance"  # what we owe the customer: the liability
    BURNED = "burned", "Burned"  # what became revenue, as far as its grant was paid
    EXPIRED = "expired", "Expired"
    VOIDED = "voided", "Voided"
    OWED = "owed", "Owed"  # spent, and its money given back: the next purchase pays it first


class Account(OwnedModel):
    """One account of an organization in one currency; PostgreSQL keeps `balance` as the sum of its entries."""

    purge_function = "credits_account_purge"
    currency = models.CharField(max_length=3)
    kind = models.CharField(max_length=16, choices=AccountKind.choices)
    balance = models.BigIntegerField(default=0)  # minor units
    opened_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints = [
            models.UniqueConstraint(fields=["organization", "currency", "kind"], name="credit_account_once"),
            models.CheckConstraint(
                condition=models.Q(kind__in=list(Category))
                | models.Q(kind="owed", balance__lte=0)
                | (~models.Q(kind="owed") & models.Q(balance__gte=0)),
                name="credits_never_overspent",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.balance} {self.currency}"


class Grant(OwnedModel):
    """Credits that came in at once, burned in the order (priority, expiry, age).

    PostgreSQL keeps `remaining` as the sum of the grant's entries in the balance account.
    """

    purge_function = "credits_grant_purge"
    currency = models.CharField(max_length=3)
    amount = models.BigIntegerField()  # minor units
    remaining = models.BigIntegerField(default=0)
    priority = models.PositiveSmallIntegerField()  # 0 burns first
    expires_at = models.DateTimeField(null=True)
    category = models.CharField(max_length=16, choices=Category.choices)
    reason = models.CharField(max_length=200)
    author = models.JSONField()  # {kind, id, label}
    created_at = models.DateTimeField()

    class Meta(OwnedModel.Meta):
        constraints = [
            models.CheckConstraint(
                condition=models.Q(remaining__gte=0, remaining__lte=models.F("amount")), name="grant_never_overspent"
            )
        ]
        indexes = [
            models.Index(
                fields=["organization", "currency", "priority", "expires_at", "id"],
                name="grants_to_burn",
                condition=models.Q(remaining__gt=0),
            ),
            models.Index(
                fields=["organization_id", "expires_at"],
                name="grants_to_expire",
                condition=models.Q(remaining__gt=0, expires_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.category} {self.remaining} of {self.amount} {self.currency}"


class Transaction(OwnedModel):
    """One movement of credits, written once with its entries and never changed; `ref` makes it happen once."""

    purge_function = "credits_transaction_purge"

    class Kind(models.TextChoices):
        """What moved."""

        GRANT = "grant", "Granted"
        BURN = "burn", "Burned"
        EXPIRY = "expiry", "Expired"
        VOID = "void", "Voided"
        REFUND = "refund", "Taken back for a refund"
        REFUND_FAILED = "refund_failed", "Given back after a refund that failed"
        REPAYMENT = "repayment", "Paid what was owed"

    kind = models.CharField(max_length=16, choices=Kind.choices)
    currency = models.CharField(max_length=3)
    asked = models.BigIntegerField()  # minor units, as is `amount`: a partial burn moves less than was asked
    amount = models.BigIntegerField()
    ref = models.CharField(max_length=200)
    reason = models.CharField(max_length=200, blank=True)
    author = models.JSONField()  # {kind, id, label}
    occurred_at = models.DateTimeField()

    class Meta(OwnedModel.Meta):
        constraints = [models.UniqueConstraint(fields=["organization", "ref"], name="credit_transaction_once")]
        indexes = [models.Index(fields=["organization", "-id"], name="credit_transactions_newest")]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount} {self.currency} {self.ref}"


class Entry(OwnedModel):
    """What a transaction puts into an account (above zero) or takes out of it, of one grant; never changed."""

    purge_function = "credits_entry_purge"
    transaction = models.ForeignKey(Transaction, on_delete=models.CASCADE, related_name="entries")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="entries")
    grant = models.ForeignKey(Grant, on_delete=models.CASCADE, related_name="entries")
    amount = models.BigIntegerField()  # minor units

    class Meta(OwnedModel.Meta):
        constraints = [models.CheckConstraint(condition=~models.Q(amount=0), name="entry_moves_something")]

    def __str__(self) -> str:
        return f"{self.account_id} {self.amount:+}"


class AutoTopUp(OwnedModel):
    """Buys credits when the balance falls below `threshold`, at most `monthly_maximum` a calendar month in UTC.

    A payment that fails stops it until somebody turns it on again.
    """

    currency = models.CharField(max_length=3)
    threshold = models.BigIntegerField()  # minor units, as the two below
    amount = models.BigIntegerField()
    monthly_maximum = models.BigIntegerField()
    is_on = models.BooleanField(default=True)
    stop_reason = models.CharField(max_length=200, blank=True)
    stopped_at = models.DateTimeField(null=True)
    maximum_noted_at = models.DateTimeField(
        null=True
    )  # when the customer was last told that the month's maximum is reached
    changed_at = models.DateTimeField()

    class Meta(OwnedModel.Meta):
        constraints = [models.UniqueConstraint(fields=["organization", "currency"], name="auto_top_up_once")]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency} below {self.threshold}"


class TopUp(OwnedModel):
    """A purchase of credits, from the wish to the money: the outbox of payments to make, and their history."""

    class State(models.TextChoices):
        """Where it stands."""

        REQUESTED = "requested", "Being paid"
        OPEN = "open", "Waiting for payment"  # by the customer, at `page_url`
        PAID = "paid", "Paid"
        FAILED = "failed", "Failed"

    currency = models.CharField(max_length=3)
    amount = models.BigIntegerField()  # minor units
    is_automatic = models.BooleanField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.REQUESTED)
    author = models.JSONField()  # {kind, id, label}
    payment_ref = models.CharField(max_length=255, blank=True)  # the invoice at Stripe
    page_url = models.TextField(blank=True)
    error = models.CharField(max_length=200, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()  # when a worker may try
    requested_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)

    class Meta(OwnedModel.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "currency"],
                condition=models.Q(is_automatic=True, state="requested"),
                name="automatic_top_up_one_at_a_time",
            )
        ]
        indexes = [
            models.Index(fields=["due_at"], name="top_ups_to_pay", condition=models.Q(state="requested")),
            models.Index(fields=["organization", "-id"], name="top_ups_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.amount} {self.currency}"


class InvoiceCredit(OwnedModel):
    """Credits that pay for an invoice of Stripe's: burned here first, then put onto its draft there."""

    class State(models.TextChoices):
        """Where they stand."""

        BURNED = "burned", "Burned"
        DEDUCTED = "deducted", "On the invoice"
        RETURNED = "returned", "Given back"  # the draft was closed already, or the invoice is void

    invoice_ref = models.CharField(max_length=255)
    currency = models.CharField(max_length=3)
    amount = models.BigIntegerField()  # minor units
    state = models.CharField(max_length=16, choices=State.choices, default=State.BURNED)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()  # when a worker may try
    burned_at = models.DateTimeField()

    class Meta(OwnedModel.Meta):
        constraints = [models.UniqueConstraint(fields=["organization", "invoice_ref"], name="invoice_credit_once")]
        indexes = [
            models.Index(fields=["due_at"], name="invoice_credits_to_deduct", condition=models.Q(state="burned"))
        ]

    def __str__(self) -> str:
        return f"{self.invoice_ref} {self.amount} {self.currency}"
