"""A subscription's standing follows its invoices: active when they are paid, past due when they are not."""

from billing.sandbox import accounts
from billing.sandbox.refusals import Json
from billing.sandbox.store import Books

OVER = ("canceled", "incomplete_expired")


def of_invoice(books: Books, invoice: Json) -> Json | None:
    """The subscription that the invoice is for, or None."""
    details = (invoice["parent"] or {}).get("subscription_details")
    return books.get("subscription", details["subscription"]) if details else None


def paid(books: Books, invoice: Json) -> None:
    """An invoice was paid: its subscription and its customer are in order again."""
    customer = books.get("customer", invoice["customer"])
    if customer["delinquent"]:
        customer["delinquent"] = False
        books.save(customer, "customer.updated")
    subscription = of_invoice(books, invoice)
    if subscription and subscription["status"] in {"incomplete", "past_due", "unpaid"}:
        subscription["status"] = "active"
        books.save(subscription, "customer.subscription.updated")


def failed(books: Books, invoice: Json) -> None:
    """A payment failed: the customer owes, a running subscription is past due."""
    customer = books.get("customer", invoice["customer"])
    if not customer["delinquent"]:
        customer["delinquent"] = True
        books.save(customer, "customer.updated")
    subscription = of_invoice(books, invoice)
    if subscription and subscription["status"] in {"active", "trialing"}:
        subscription["status"] = "past_due"
        books.save(subscription, "customer.subscription.updated")


def exhausted(books: Books, invoice: Json) -> None:
    """The last retry failed: the account's choice decides what becomes of the subscription; past due it stays."""
    subscription = of_invoice(books, invoice)
    if subscription is None or subscription["status"] in OVER:
        return
    outcome = accounts.after_retries(books)
    if outcome == accounts.CANCEL:
        end(books, subscription, "payment_failed")
    elif outcome == accounts.UNPAID:
        subscription["status"] = "unpaid"
        books.save(subscription, "customer.subscription.updated")


def end(books: Books, subscription: Json, reason: str, details: Json | None = None) -> Json:
    """End the subscription now. `reason` is one of Stripe's (`cancellation_requested`, `payment_failed`).

    What is open of it stays open, and its card is not tried again.
    """
    now = books.now(subscription["customer"])
    subscription |= {"status": "canceled", "ended_at": now, "canceled_at": subscription["canceled_at"] or now}
    subscription["cancellation_details"] = {"comment": None, "feedback": None} | (details or {}) | {"reason": reason}
    if schedule := subscription["schedule"]:
        ended = books.get("subscription_schedule", schedule)
        ended |= {"status": "canceled", "canceled_at": now, "current_phase": None}
        word = "aborted" if reason == "payment_failed" else "canceled"
        books.save(ended, f"subscription_schedule.{word}")
    for invoice in books.all("invoice", subscription["customer"], status="open"):
        if of_invoice(books, invoice) is subscription and invoice["auto_advance"]:
            invoice |= {"auto_advance": False, "next_payment_attempt": None}
            books.save(invoice, "invoice.updated")
    return books.save(subscription, "customer.subscription.deleted")
