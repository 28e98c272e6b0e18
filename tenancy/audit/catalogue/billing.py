"""Actions about money: subscriptions, invoices, contracts, dunning, entitlements."""

from tenancy.audit.catalogue.action import (
    AMOUNT,
    ANYTHING,
    CURRENCY,
    EMAILS,
    FLAG,
    MOMENT,
    TEXT,
    WHOLE,
    Action,
    Kind,
    Schema,
    Severity,
    many,
    maybe,
)

_SUM: dict[str, Schema] = {"amount": AMOUNT, "currency": CURRENCY}
_PLAN: dict[str, Schema] = {"plan": TEXT, "interval": TEXT}
_ADDRESS: Schema = {"type": "object", "additionalProperties": maybe(TEXT)}

# --- The payer ---
BILLING_LINK_MISMATCH = Action(
    "billing.account.link_mismatch",
    "found its customer at Stripe claimed by another",
    Kind.OTHER,
    has={"customer": TEXT, "claimed": TEXT},
    severity=Severity.HIGH,
)
BILLING_DETAILS_CHANGED = Action(
    "billing.account.details_changed",
    "changed what invoices say",
    Kind.UPDATE,
    changes={
        "legal_name": TEXT,
        "po_number": TEXT,
        "invoice_emails": EMAILS,
        "address": _ADDRESS,
        "seat_policy": TEXT,
    },
    severity=Severity.LOW,
)
BILLING_TAX_ID_ADDED = Action("billing.account.tax_id_added", "added a tax id", Kind.UPDATE, has={"type": TEXT})
BILLING_TAX_ID_REMOVED = Action("billing.account.tax_id_removed", "removed a tax id", Kind.UPDATE, may={"type": TEXT})
# --- Subscriptions ---
_SUBSCRIPTION: dict[str, Schema] = {**_PLAN, "version": WHOLE, "seats": WHOLE, "status": TEXT}
_CHANGES: dict[str, Schema] = {**_SUBSCRIPTION, "cancel_at": MOMENT}
BILLING_CHECKOUT_OPENED = Action(
    "billing.checkout.opened", "went to the checkout", Kind.OTHER, may={**_PLAN, "seats": WHOLE}
)
BILLING_SUBSCRIPTION_STARTED = Action(
    "billing.subscription.started", "started the subscription", Kind.CREATE, has=_SUBSCRIPTION
)
BILLING_SUBSCRIPTION_CHANGED = Action(
    "billing.subscription.changed",
    "changed the subscription",
    Kind.UPDATE,
    may={**_SUBSCRIPTION, "since": MOMENT},
    changes=_CHANGES,
)
BILLING_SUBSCRIPTION_ENDED = Action(
    "billing.subscription.ended", "ended the subscription", Kind.DELETE, may=_SUBSCRIPTION, changes=_CHANGES
)
BILLING_TRIAL_STARTED = Action("billing.trial.started", "started a trial", Kind.CREATE)
BILLING_TRIAL_REMINDED = Action(
    "billing.trial.reminded", "reminded of the end of the trial", Kind.OTHER, has={"days": WHOLE}
)
BILLING_CHANGE_ORDERED = Action(
    "billing.change.ordered",
    "confirmed a change of plan",
    Kind.UPDATE,
    has={"total": AMOUNT},
    changes={**_PLAN, "seats": WHOLE},
)
BILLING_DOWNGRADE_SCHEDULED = Action(
    "billing.downgrade.scheduled",
    "scheduled a change of plan for the period's end",
    Kind.UPDATE,
    has={"at": MOMENT},
    changes=_PLAN,
)
BILLING_DOWNGRADE_UNSCHEDULED = Action(
    "billing.downgrade.unscheduled", "took back a scheduled change of plan", Kind.UPDATE, changes=_PLAN
)
BILLING_CANCEL_ORDERED = Action(
    "billing.cancel.ordered", "cancelled the subscription", Kind.UPDATE, changes={"cancel_at": MOMENT}
)
BILLING_RESUMED = Action(
    "billing.subscription.resumed", "took back the cancellation", Kind.UPDATE, changes={"cancel_at": MOMENT}
)
BILLING_PRICES_CHANGED = Action(
    "billing.prices.changed",
    "changed what the subscription costs",
    Kind.UPDATE,
    has={"monthly": maybe(AMOUNT), "yearly": maybe(AMOUNT), "seat": maybe(AMOUNT)},
)
BILLING_SEATS_CHANGED = Action(
    "billing.seats.changed", "changed the number of seats", Kind.UPDATE, changes={"seats": WHOLE}
)
BILLING_COUPON_REDEEMED = Action("billing.coupon.redeemed", "redeemed a coupon", Kind.UPDATE, has={"code": TEXT})
BILLING_TIME_PASSED = Action(
    "billing.sandbox.time_passed", "let time pass in the billing sandbox", Kind.OTHER, has={"days": WHOLE}
)
BILLING_REFUNDED = Action("billing.invoice.refunded", "refunded a payment", Kind.UPDATE, has=_SUM)
BILLING_CREDITED = Action("billing.invoice.credited", "issued a credit note", Kind.UPDATE, has=_SUM)
STRIPE_EVENTS_REPLAYED = Action(
    "billing.stripe_events.replayed",
    "had events of the payment service dealt with again",
    Kind.OTHER,
    has={"events": many(TEXT)},
)
# --- Dunning ---
_STANDING: dict[str, Schema] = {"state": TEXT, "access": TEXT}
PAYMENT_FAILED = Action(
    "billing.payment.failed", "could not pay an invoice", Kind.OTHER, has=_SUM, severity=Severity.LOW
)
PAYMENT_RECOVERED = Action("billing.payment.recovered", "settled an invoice that was unpaid", Kind.OTHER, has=_SUM)
DUNNING_WORSENED = Action(
    "billing.dunning.worsened",
    "left an invoice unpaid for longer than was agreed",
    Kind.UPDATE,
    changes=_STANDING,
    severity=Severity.MEDIUM,
)
DUNNING_EASED = Action("billing.dunning.eased", "got access back", Kind.UPDATE, changes=_STANDING)
DUNNING_TERMS_SET = Action(
    "billing.dunning.terms_set",
    "changed how long an invoice may stay unpaid",
    Kind.UPDATE,
    changes={"restrict_after": WHOLE, "suspend_after": WHOLE, "cancel_after": WHOLE},
)
BILLING_DISPUTE_OPENED = Action(
    "billing.dispute.opened",
    "heard that a payment is disputed",
    Kind.OTHER,
    has={**_SUM, "status": TEXT, "cause": TEXT},
    severity=Severity.MEDIUM,
)
BILLING_DISPUTE_CLOSED = Action(
    "billing.dispute.closed",
    "heard how a dispute ended",
    Kind.OTHER,
    has={**_SUM, "status": TEXT, "cause": TEXT},
)
# --- Entitlements ---
BILLING_ENTITLEMENTS_CHANGED = Action(
    "billing.entitlements.changed",
    "changed what the organization may use",
    Kind.UPDATE,
    has={"plan": TEXT},
    changes={
        "project_limit": WHOLE,
        "member_limit": WHOLE,
        "key_limit": WHOLE,
        "requests_per_minute": WHOLE,
        "operation_limit": WHOLE,
        "stored_byte_limit": WHOLE,
        "document_limit": WHOLE,
        "end_user_limit": WHOLE,
        "audit_retention_months": WHOLE,
        "features": many(TEXT),
        "period_start": MOMENT,
        "period_end": MOMENT,
    },
    severity=Severity.LOW,
)
_OVERRIDE: dict[str, Schema] = {"value": ANYTHING, "author": TEXT, "approver": TEXT, "expires_at": MOMENT}
BILLING_OVERRIDE_REQUESTED = Action("billing.override.requested", "asked for an override", Kind.CREATE, has=_OVERRIDE)
BILLING_OVERRIDE_GRANTED = Action(
    "billing.override.granted", "granted an override", Kind.CREATE, has=_OVERRIDE, severity=Severity.LOW
)
BILLING_OVERRIDE_ENDED = Action("billing.override.ended", "ended an override", Kind.DELETE, has=_OVERRIDE)
# --- Invoices and contracts ---
CONTRACT_SIGNED = Action(
    "billing.contract.signed",
    "signed a contract",
    Kind.CREATE,
    has={
        "plan": TEXT,
        "starts_at": MOMENT,
        "ends_at": MOMENT,
        "steps": many({"type": "object", "properties": {"months": WHOLE, "commit": AMOUNT}}),
        "fee": AMOUNT,
        "currency": CURRENCY,
    },
)
CONTRACT_BEGUN = Action("billing.contract.begun", "began a contract", Kind.UPDATE)
CONTRACT_ENDED = Action("billing.contract.ended", "ended a contract early", Kind.DELETE, changes={"ends_at": MOMENT})
_BILL: dict[str, Schema] = {"total": AMOUNT, "currency": CURRENCY}
_SETTLED: dict[str, Schema] = {**_BILL, "words": TEXT}
INVOICE_OPENED = Action(
    "billing.invoice.opened", "opened an invoice", Kind.CREATE, has={**_BILL, "period": many(MOMENT)}
)
INVOICE_PAID = Action(
    "billing.invoice.paid", "marked an invoice as paid", Kind.UPDATE, has=_SETTLED, changes={"state": TEXT}
)
INVOICE_VOIDED = Action(
    "billing.invoice.voided", "made an invoice void", Kind.UPDATE, has=_SETTLED, changes={"state": TEXT}
)
INVOICE_WRITTEN_OFF = Action(
    "billing.invoice.written_off", "wrote an invoice off", Kind.UPDATE, has=_SETTLED, changes={"state": TEXT}
)
INVOICE_LATE_USE = Action("billing.invoice.late_use", "left late use to Stripe's next invoice", Kind.UPDATE, has=_SUM)
# --- Usage ---
USAGE_CORRECTED = Action(
    "billing.usage.corrected",
    "corrected a usage event",
    Kind.UPDATE,
    has={"change": WHOLE, "counter_event": TEXT},
    changes={"quantity": WHOLE},
)
USAGE_PERIOD_CLOSED = Action(
    "billing.usage.period_closed",
    "closed a period of usage",
    Kind.UPDATE,
    has={"totals": {"type": "object"}, "checksum": TEXT, "adjustments": WHOLE},
)
USAGE_DIFFERENCE_FOUND = Action(
    "billing.usage.difference_found",
    "found usage that does not add up",
    Kind.OTHER,
    has={
        "organization_id": TEXT,
        "meter": TEXT,
        "since": MOMENT,
        "until": MOMENT,
        **{name: maybe(WHOLE) for name in ("events", "hours", "period", "pushed", "stripe")},
    },
    severity=Severity.MEDIUM,
)
USAGE_REAGGREGATED = Action(
    "billing.usage.reaggregated",
    "made hourly sums of usage what the events say",
    Kind.UPDATE,
    has={"since": MOMENT, "until": MOMENT, "hours": WHOLE, "change": WHOLE},
)
# --- Credits ---
CREDITS_GRANTED = Action("billing.credits.granted", "granted credits", Kind.CREATE, has=_SUM)
CREDITS_BURNED = Action("billing.credits.burned", "burned credits", Kind.UPDATE, has=_SUM)
CREDITS_VOIDED = Action("billing.credits.voided", "took credits back", Kind.UPDATE, has=_SUM)
CREDITS_EXPIRED = Action("billing.credits.expired", "let credits expire", Kind.DELETE, has=_SUM)
CREDITS_REFUNDED = Action(
    "billing.credits.refunded", "took back the credits of a payment that was given back", Kind.UPDATE, has=_SUM
)
CREDITS_RESTORED = Action(
    "billing.credits.restored", "gave credits back after a refund that failed", Kind.UPDATE, has=_SUM
)
CREDITS_REPAID = Action("billing.credits.repaid", "paid what was owed for credits", Kind.UPDATE, has=_SUM)
TOP_UP_REQUESTED = Action(
    "billing.top_up.requested", "asked for a top-up of credits", Kind.CREATE, has=_SUM, may={"balance": AMOUNT}
)
TOP_UP_FAILED = Action("billing.top_up.failed", "could not pay a top-up of credits", Kind.UPDATE, has={"cause": TEXT})
AUTO_TOP_UP_CHANGED = Action(
    "billing.auto_top_up.changed",
    "changed automatic top-ups",
    Kind.UPDATE,
    changes={"threshold": AMOUNT, "amount": AMOUNT, "monthly_maximum": AMOUNT, "is_on": FLAG, "stopped_at": MOMENT},
)
AUTO_TOP_UP_STOPPED = Action(
    "billing.auto_top_up.stopped",
    "stopped automatic top-ups after a failed payment",
    Kind.UPDATE,
    has={"cause": TEXT},
    changes={"stopped_at": MOMENT},
)
AUTO_TOP_UP_MAXIMUM_REACHED = Action(
    "billing.auto_top_up.maximum_reached",
    "reached the month's top-up maximum",
    Kind.OTHER,
    has={"monthly_maximum": AMOUNT},
)
# --- Quotas ---
_CAP: dict[str, Schema] = {"allowance": TEXT, "span": TEXT}
CAP_SET = Action("billing.cap.set", "set a cap", Kind.UPDATE, has=_CAP, changes={"amount": WHOLE, "reaction": TEXT})
CAP_CLEARED = Action(
    "billing.cap.cleared", "took a cap away", Kind.DELETE, has=_CAP, changes={"amount": WHOLE, "reaction": TEXT}
)
_PARKED: dict[str, Schema] = {"kind": TEXT, "parked_id": TEXT}
WRITE_PARKED = Action("billing.write.parked", "kept a write until a cap lifts", Kind.API_CREATE, has=_PARKED)
PARKED_WRITE_FAILED = Action(
    "billing.write.failed", "could not apply a write that had waited", Kind.API_UPDATE, has={**_PARKED, "error": TEXT}
)
PARKED_WRITE_RETRIED = Action(
    "billing.write.retried", "let a write that could not be applied wait again", Kind.API_UPDATE, has=_PARKED
)
PARKED_WRITE_DROPPED = Action("billing.write.dropped", "dropped a write that had waited", Kind.API_DELETE, has=_PARKED)
NOTICE_DISMISSED = Action("billing.notice.dismissed", "put a notice about use away", Kind.UPDATE)
WATCH_SET = Action(
    "billing.watch.set",
    "chose when to be told about use",
    Kind.UPDATE,
    has={"allowance": TEXT},
    changes={"percents": many(WHOLE)},
)
