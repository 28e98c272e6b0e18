"""The catalogue of audited actions; what is not here cannot be recorded."""

from dataclasses import dataclass

CATALOGUE: dict[str, "Action"] = {}


@dataclass(frozen=True, slots=True)
class Action:
    """One kind of event: its name (`room.thing.happened`) and a sentence for people."""

    name: str
    sentence: str

    def __post_init__(self) -> None:
        if self.name in CATALOGUE:
            raise ValueError(f"{self.name} is in the catalogue already.")
        CATALOGUE[self.name] = self


# --- Organizations ---
ORGANIZATION_CREATED = Action("organization.created", "created the organization")
ORGANIZATION_UPDATED = Action("organization.updated", "changed the organization's settings")
ORGANIZATION_CLOSED = Action("organization.closed", "closed the organization")
ORGANIZATION_RESTORED = Action("organization.restored", "restored the organization")
# --- Projects ---
PROJECT_CREATED = Action("organization.project.created", "created a project")
PROJECT_UPDATED = Action("organization.project.updated", "changed a project")
PROJECT_ARCHIVED = Action("organization.project.archived", "archived a project")
# --- Members and invitations ---
MEMBER_ADDED = Action("organization.member.added", "became a member")
MEMBER_ROLE_CHANGED = Action("organization.member.role_changed", "changed a member's role")
MEMBER_REMOVED = Action("organization.member.removed", "removed a member")
MEMBER_LEFT = Action("organization.member.left", "left the organization")
INVITATION_CREATED = Action("organization.invitation.created", "invited somebody")
INVITATION_RESENT = Action("organization.invitation.resent", "sent an invitation again")
INVITATION_REVOKED = Action("organization.invitation.revoked", "revoked an invitation")
INVITATION_ACCEPTED = Action("organization.invitation.accepted", "accepted an invitation")
# --- API keys ---
KEY_CREATED = Action("organization.api_key.created", "created an API key")
KEY_ROTATED = Action("organization.api_key.rotated", "rotated an API key")
KEY_REVOKED = Action("organization.api_key.revoked", "revoked an API key")
# --- Webhooks ---
WEBHOOK_CREATED = Action("webhooks.endpoint.created", "added a webhook endpoint")
WEBHOOK_UPDATED = Action("webhooks.endpoint.updated", "changed a webhook endpoint")
WEBHOOK_DELETED = Action("webhooks.endpoint.deleted", "deleted a webhook endpoint")
WEBHOOK_ENABLED = Action("webhooks.endpoint.enabled", "let a webhook endpoint be told again")
WEBHOOK_DISABLED = Action("webhooks.endpoint.disabled", "disabled a webhook endpoint")
WEBHOOK_PAUSED = Action("webhooks.endpoint.paused", "paused a webhook endpoint that failed for a day")
WEBHOOK_SECRET_ROTATED = Action("webhooks.secret.rotated", "gave a webhook endpoint a new secret")
WEBHOOK_TESTED = Action("webhooks.endpoint.tested", "sent a test event to a webhook endpoint")
WEBHOOK_RESENT = Action("webhooks.delivery.resent", "sent an event to a webhook endpoint again")
WEBHOOK_REPLAYED = Action("webhooks.endpoint.replayed", "sent a webhook endpoint again what it had missed")
# --- Accounts ---
SIGNED_IN = Action("account.signed_in", "signed in")
ACCOUNT_RENAMED = Action("account.renamed", "changed their name")
SIGN_IN_FAILED = Action("account.sign_in_failed", "failed to sign in")
# --- Subscriptions ---
BILLING_LINK_MISMATCH = Action("billing.account.link_mismatch", "found its customer at Stripe claimed by another")
BILLING_DETAILS_CHANGED = Action("billing.account.details_changed", "changed what invoices say")
BILLING_TAX_ID_ADDED = Action("billing.account.tax_id_added", "added a tax id")
BILLING_TAX_ID_REMOVED = Action("billing.account.tax_id_removed", "removed a tax id")
BILLING_CHECKOUT_OPENED = Action("billing.checkout.opened", "went to the checkout")
BILLING_SUBSCRIPTION_STARTED = Action("billing.subscription.started", "started the subscription")
BILLING_SUBSCRIPTION_CHANGED = Action("billing.subscription.changed", "changed the subscription")
BILLING_SUBSCRIPTION_ENDED = Action("billing.subscription.ended", "ended the subscription")
BILLING_TRIAL_STARTED = Action("billing.trial.started", "started a trial")
BILLING_TRIAL_REMINDED = Action("billing.trial.reminded", "reminded of the end of the trial")
BILLING_CHANGE_ORDERED = Action("billing.change.ordered", "confirmed a change of plan")
BILLING_DOWNGRADE_SCHEDULED = Action("billing.downgrade.scheduled", "scheduled a change of plan for the period's end")
BILLING_DOWNGRADE_UNSCHEDULED = Action("billing.downgrade.unscheduled", "took back a scheduled change of plan")
BILLING_CANCEL_ORDERED = Action("billing.cancel.ordered", "cancelled the subscription")
BILLING_RESUMED = Action("billing.subscription.resumed", "took back the cancellation")
BILLING_PRICES_CHANGED = Action("billing.prices.changed", "changed what the subscription costs")
BILLING_SEATS_CHANGED = Action("billing.seats.changed", "changed the number of seats")
BILLING_COUPON_REDEEMED = Action("billing.coupon.redeemed", "redeemed a coupon")
BILLING_TIME_PASSED = Action("billing.sandbox.time_passed", "let time pass in the billing sandbox")
BILLING_REFUNDED = Action("billing.invoice.refunded", "refunded a payment")
BILLING_CREDITED = Action("billing.invoice.credited", "issued a credit note")
# --- Memory: sessions ---
MEMORY_SESSION_OPENED = Action("memory.session.opened", "opened a session")
MEMORY_SESSION_INGESTED = Action("memory.session.ingested", "added turns to a session")
MEMORY_SESSION_SEALED = Action("memory.session.sealed", "sealed a session into a capsule")
MEMORY_SESSION_EXPIRED = Action("memory.session.expired", "removed a session that was never used")
MEMORY_TRIGGER_RESOLVED = Action("memory.trigger.resolved", "decided about a skill that was noticed")
MEMORY_TURNS_PURGED = Action("memory.turns.purged", "deleted raw turns past their retention")
# --- Memory: capsules ---
MEMORY_CAPSULE_DELETED = Action("memory.capsule.deleted", "deleted a capsule")
MEMORY_CAPSULE_PINNED = Action("memory.capsule.pinned", "pinned a capsule")
MEMORY_CAPSULE_UNPINNED = Action("memory.capsule.unpinned", "unpinned a capsule")
MEMORY_CAPSULE_TAGGED = Action("memory.capsule.tagged", "changed a capsule's tags")
MEMORY_CAPSULE_EXPIRY_SET = Action("memory.capsule.expiry_set", "changed when a capsule expires")
MEMORY_CAPSULE_MERGED = Action("memory.capsule.merged", "merged capsules into a new one")
MEMORY_CAPSULE_FORKED = Action("memory.capsule.forked", "copied a capsule for another end user")
MEMORY_CAPSULE_IMPORTED = Action("memory.capsule.imported", "imported a capsule")
MEMORY_CAPSULE_EXPORTED = Action("memory.capsule.exported", "exported a capsule")
MEMORY_CAPSULES_EXPIRED = Action("memory.capsules.expired", "removed capsules whose end had passed")
MEMORY_SKILL_CREATED = Action("memory.skill.created", "wrote down a skill")
MEMORY_USER_DELETED = Action("memory.user.deleted", "deleted all memories of an end user")
# --- Staff ---
STAFF_LOOKED = Action("staff.looked", "looked at data of the organization")
STRIPE_EVENTS_REPLAYED = Action("billing.stripe_events.replayed", "had events of the payment service dealt with again")
# --- Dunning ---
PAYMENT_FAILED = Action("billing.payment.failed", "could not pay an invoice")
PAYMENT_RECOVERED = Action("billing.payment.recovered", "settled an invoice that was unpaid")
DUNNING_WORSENED = Action("billing.dunning.worsened", "left an invoice unpaid for longer than was agreed")
DUNNING_EASED = Action("billing.dunning.eased", "got access back")
DUNNING_TERMS_SET = Action("billing.dunning.terms_set", "changed how long an invoice may stay unpaid")
# --- Credits ---
CREDITS_GRANTED = Action("billing.credits.granted", "granted credits")
CREDITS_BURNED = Action("billing.credits.burned", "burned credits")
CREDITS_VOIDED = Action("billing.credits.voided", "took credits back")
CREDITS_EXPIRED = Action("billing.credits.expired", "let credits expire")
CREDITS_REFUNDED = Action("billing.credits.refunded", "took back the credits of a payment that was given back")
CREDITS_RESTORED = Action("billing.credits.restored", "gave credits back after a refund that failed")
BILLING_DISPUTE_OPENED = Action("billing.dispute.opened", "heard that a payment is disputed")
BILLING_DISPUTE_CLOSED = Action("billing.dispute.closed", "heard how a dispute ended")
CREDITS_REPAID = Action("billing.credits.repaid", "paid what was owed for credits")
TOP_UP_REQUESTED = Action("billing.top_up.requested", "asked for a top-up of credits")
TOP_UP_FAILED = Action("billing.top_up.failed", "could not pay a top-up of credits")
AUTO_TOP_UP_CHANGED = Action("billing.auto_top_up.changed", "changed automatic top-ups")
AUTO_TOP_UP_STOPPED = Action("billing.auto_top_up.stopped", "stopped automatic top-ups after a failed payment")
AUTO_TOP_UP_MAXIMUM_REACHED = Action("billing.auto_top_up.maximum_reached", "reached the month's top-up maximum")
# --- Quotas ---
CAP_SET = Action("billing.cap.set", "set a cap")
CAP_CLEARED = Action("billing.cap.cleared", "took a cap away")
WRITE_PARKED = Action("billing.write.parked", "kept a write until a cap lifts")
PARKED_WRITE_FAILED = Action("billing.write.failed", "could not apply a write that had waited")
PARKED_WRITE_RETRIED = Action("billing.write.retried", "let a write that could not be applied wait again")
PARKED_WRITE_DROPPED = Action("billing.write.dropped", "dropped a write that had waited")
NOTICE_DISMISSED = Action("billing.notice.dismissed", "put a notice about use away")
WATCH_SET = Action("billing.watch.set", "chose when to be told about use")
# --- Entitlements ---
BILLING_ENTITLEMENTS_CHANGED = Action("billing.entitlements.changed", "changed what the organization may use")
BILLING_OVERRIDE_REQUESTED = Action("billing.override.requested", "asked for an override")
BILLING_OVERRIDE_GRANTED = Action("billing.override.granted", "granted an override")
BILLING_OVERRIDE_ENDED = Action("billing.override.ended", "ended an override")
# --- Invoices and contracts ---
CONTRACT_SIGNED = Action("billing.contract.signed", "signed a contract")
CONTRACT_BEGUN = Action("billing.contract.begun", "began a contract")
CONTRACT_ENDED = Action("billing.contract.ended", "ended a contract early")
INVOICE_OPENED = Action("billing.invoice.opened", "opened an invoice")
INVOICE_PAID = Action("billing.invoice.paid", "marked an invoice as paid")
INVOICE_VOIDED = Action("billing.invoice.voided", "made an invoice void")
INVOICE_WRITTEN_OFF = Action("billing.invoice.written_off", "wrote an invoice off")
INVOICE_LATE_USE = Action("billing.invoice.late_use", "left late use to Stripe's next invoice")
# --- Usage ---
USAGE_CORRECTED = Action("billing.usage.corrected", "corrected a usage event")
USAGE_PERIOD_CLOSED = Action("billing.usage.period_closed", "closed a period of usage")
USAGE_DIFFERENCE_FOUND = Action("billing.usage.difference_found", "found usage that does not add up")
USAGE_REAGGREGATED = Action("billing.usage.reaggregated", "made hourly sums of usage what the events say")
