"""An invoice from draft to paid, void or uncollectible, with its retries."""

from typing import Any

from billing.sandbox import accounts, customers, items, lines, methods, payments, standing, taxes
from billing.sandbox.ids import token
from billing.sandbox.periods import DAY
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.store import DUE, Books, listing

DRAFT_FOR = 3600  # seconds that an automatic invoice stays a draft
RETRY_DAYS = (3, 5, 7)  # between a failed attempt and the next
NONE_TO_PAY_WITH = "This customer has no attached payment source or default payment method."


def due(invoice: Json) -> int | None:
    """When the invoice moves by itself: is finalized, tried again, or overdue."""
    moment: int | None = None
    if invoice["status"] == "draft" and invoice["auto_advance"]:
        moment = invoice["automatically_finalizes_at"]
    elif invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically":
        moment = invoice["next_payment_attempt"]
    elif invoice["status"] == "open" and not invoice["_"].get("overdue"):
        moment = invoice["due_date"]
    return moment


DUE["invoice"] = due


def draft(
    books: Books,
    customer: Json,
    rows: list[Json],
    *,
    reason: str,
    currency: str,
    period: tuple[int, int],
    subscription: Json | None = None,
    discounts: list[Json] | None = None,
    **more: Any,
) -> Json:
    """A draft with the lines; what waits for the customer is not taken here (see `invoice_items.take_pending`)."""
    now = books.now(customer["id"])
    made = books.new("invoice", customer=customer["id"], created=now, currency=currency, billing_reason=reason)
    source = subscription or {"collection_method": "charge_automatically", "days_until_due": None}
    made |= {"status": "draft", "collection_method": source["collection_method"], "auto_advance": True, "metadata": {}}
    made["_"]["days_until_due"] = source["days_until_due"]
    made |= {"automatically_finalizes_at": now + DRAFT_FOR, "period_start": period[0], "period_end": period[1]}
    made |= {"account_country": accounts.COUNTRY, "account_name": accounts.NAME, "test_clock": customer["test_clock"]}
    made |= {f"customer_{name}": customer[name] for name in ("address", "email", "name", "phone", "tax_exempt")}
    ids = books.all("tax_id", customer["id"])
    made["customer_tax_ids"] = [{"type": one["type"], "value": one["value"]} for one in reversed(ids)]
    made["issuer"] = {"type": "self"}
    made["custom_fields"] = customer["invoice_settings"]["custom_fields"]
    made["footer"] = customer["invoice_settings"]["footer"]
    made |= {"attempted": False, "attempt_count": 0, "starting_balance": customer["balance"]}
    made["automatic_tax"] = taxes.switched(bool(subscription and subscription["automatic_tax"]["enabled"]))
    made["default_tax_rates"] = list((subscription or {}).get("default_tax_rates") or [])
    if subscription:
        details = {"subscription": subscription["id"], "metadata": dict(subscription["metadata"])}
        made["parent"] = {"type": "subscription_details", "quote_details": None, "subscription_details": details}
        made["description"] = subscription["description"]
    made["lines"] = listing(rows, f"/v1/invoices/{made['id']}/lines")
    made |= more
    put_discounts(books, made, discounts or [])
    books.add(made, "invoice.created")
    if subscription:
        subscription["latest_invoice"] = made["id"]
    return made


def put_discounts(books: Books, invoice: Json, discounts: list[Json]) -> None:
    """Set the draft's discounts, and compute it."""
    invoice["discounts"] = [one["id"] for one in discounts]
    recompute(books, invoice)


def recompute(books: Books, invoice: Json) -> None:
    """Compute a draft again after its lines or discounts changed."""
    for row in invoice["lines"]["data"]:
        row["invoice"] = invoice["id"]
    invoice["starting_balance"] = books.get("customer", invoice["customer"])["balance"]
    lines.sum_up(invoice, [books.get("discount", one) for one in invoice["discounts"]])
    taxes.settle(books, invoice)
    lines.put_due(invoice)


def finalize(books: Books, invoice: Json) -> Json:
    """Close a draft: usage, number, balance, due date, a payment that waits. What needs no payment is paid."""
    if invoice["status"] != "draft":
        raise Refusal("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    customer, now = books.get("customer", invoice["customer"]), books.now(invoice["customer"])
    items.recount(books, invoice)
    recompute(books, invoice)
    taxes.give_up_unknown(invoice)
    invoice["number"] = invoice["number"] or f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    customer["next_invoice_sequence"] += 1
    invoice |= {"status": "open", "effective_at": invoice["effective_at"] or now, "automatically_finalizes_at": None}
    invoice["status_transitions"]["finalized_at"] = now
    if invoice["collection_method"] == "send_invoice" and invoice["due_date"] is None:
        invoice["due_date"] = now + DAY * (invoice["_"]["days_until_due"] or 0)
    page = f"{accounts.pages_url()}/invoice/{invoice['id']}/{token(24)}"
    invoice["_"]["page"] = page.rpartition("/")[2]
    invoice |= {"hosted_invoice_url": page, "invoice_pdf": f"{page}?print=1"}
    _use_balance(books, customer, invoice)
    invoice["ending_balance"] = customer["balance"]
    books.save(customer)
    if invoice["amount_due"] == 0:
        books.save(invoice, "invoice.finalized")
        return mark_paid(books, invoice)
    intent = payments.new_intent(
        books,
        customer=customer["id"],
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        description=invoice["description"] or "Payment for Invoice",
    )
    _new_payment(books, invoice, intent)
    return books.save(invoice, "invoice.finalized")


def _use_balance(books: Books, customer: Json, invoice: Json) -> None:
    """Use what the customer is owed (or ask for what it owes); a negative invoice adds to what it is owed."""
    if change := invoice["total"] - invoice["amount_due"]:
        customers.move_balance(books, customer, change, "applied_to_invoice", invoice=invoice["id"])


def _new_payment(books: Books, invoice: Json, intent: Json) -> Json:
    made = books.new("invoice_payment", invoice=invoice["id"], currency=invoice["currency"], status="open")
    made |= {"amount_requested": intent["amount"], "amount_paid": None, "is_default": True}
    made |= {
        "created": books.now(invoice["customer"]),
        "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
    }
    made["_"]["customer"] = invoice["customer"]
    return books.add(made)


def payment_of(books: Books, invoice: Json) -> Json | None:
    """The invoice's open payment, or None."""
    return next((one for one in books.all("invoice_payment", invoice=invoice["id"]) if one["status"] == "open"), None)


def collect(books: Books, invoice: Json, method_id: str | None = None, *, off_session: bool = True) -> Refusal | None:
    """Try to take an open invoice's payment; the bank's no is returned.

    The subscription and the customer follow: active, past due, or waiting for the customer's authentication.
    """
    customer, subscription = books.get("customer", invoice["customer"]), standing.of_invoice(books, invoice)
    own = subscription["default_payment_method"] if subscription else None
    method = methods.of_customer(books, customer, method_id, invoice["default_payment_method"], own)
    invoice |= {"attempted": True, "attempt_count": invoice["attempt_count"] + 1}
    payment = payment_of(books, invoice)
    if payment is None:
        raise Refusal("Invoice has no payment that waits.", code="invoice_payment_missing")
    intent = books.get("payment_intent", payment["payment"]["payment_intent"])
    if method is None:
        refusal: Refusal | None = Refusal(NONE_TO_PAY_WITH, code="resource_missing", keeps=True)
    else:
        refusal = payments.confirm(books, intent, method, off_session=off_session)
    if refusal is None and intent["status"] == "succeeded":
        mark_paid(books, invoice)
    elif refusal is None:
        books.save(invoice, "invoice.updated")
        books.tell_of(invoice, "invoice.payment_action_required")
    else:
        _not_paid(books, invoice)
        if refusal.error.get("code") == "authentication_required":
            books.tell_of(invoice, "invoice.payment_action_required")
    return refusal


def _not_paid(books: Books, invoice: Json) -> None:
    """Plan the next attempt where the account would, and tell of the failure."""
    now, attempt = books.now(invoice["customer"]), invoice["attempt_count"]
    is_retried = invoice["auto_advance"] and invoice["billing_reason"] != "subscription_create"
    is_last = is_retried and attempt > len(RETRY_DAYS)
    invoice["next_payment_attempt"] = now + DAY * RETRY_DAYS[attempt - 1] if is_retried and not is_last else None
    books.save(invoice, "invoice.updated")
    books.tell_of(invoice, "invoice.payment_failed")
    standing.failed(books, invoice)
    if is_last:
        standing.exhausted(books, invoice)


def mark_paid(books: Books, invoice: Json, *, out_of_band: bool = False) -> Json:
    """Mark the invoice as paid, in money or out of band, and tell everybody."""
    now, taken = books.now(invoice["customer"]), invoice["amount_remaining"]
    if payment := payment_of(books, invoice):
        payment["status_transitions"] = {
            "paid_at": None if out_of_band else now,
            "canceled_at": now if out_of_band else None,
        }
        payment |= {"status": "canceled" if out_of_band else "paid", "amount_paid": None if out_of_band else taken}
        books.save(payment)
        if out_of_band:
            payments.cancel(books, books.get("payment_intent", payment["payment"]["payment_intent"]), "void_invoice")
        else:
            books.tell_of(payment, "invoice_payment.paid")
    invoice |= {"status": "paid", "attempted": True, "next_payment_attempt": None, "amount_remaining": 0}
    invoice["amount_paid"] += taken
    invoice["amount_paid_off_stripe"] += taken if out_of_band else 0
    invoice["status_transitions"]["paid_at"] = now
    books.save(invoice, "invoice.updated")
    books.tell_of(invoice, "invoice.paid")
    books.tell_of(invoice, "invoice.payment_succeeded")
    standing.paid(books, invoice)
    return invoice


def void(books: Books, invoice: Json, *, is_uncollectible: bool = False) -> Json:
    """Void an open invoice, or write it off. Raises Refusal for any other."""
    if invoice["status"] not in {"open", "uncollectible"}:
        raise Refusal(f"You can only pass in open invoices. This invoice isn't open ({invoice['status']}).")
    word = "marked_uncollectible" if is_uncollectible else "voided"
    invoice["status"] = "uncollectible" if is_uncollectible else "void"
    invoice["status_transitions"][f"{word}_at"] = books.now(invoice["customer"])
    invoice |= {"next_payment_attempt": None, "auto_advance": False}
    if not is_uncollectible and (payment := payment_of(books, invoice)):
        payment |= {"status": "canceled"}
        payment["status_transitions"]["canceled_at"] = books.now(invoice["customer"])
        books.save(payment)
        payments.cancel(books, books.get("payment_intent", payment["payment"]["payment_intent"]), "void_invoice")
    return books.save(invoice, f"invoice.{word}")


def advance(books: Books, invoice: Json) -> None:
    """Do what is due: finalize a draft and take its payment, try again, or mark as overdue."""
    if invoice["status"] == "draft":
        finalize(books, invoice)
        if invoice["status"] == "open" and invoice["collection_method"] == "charge_automatically":
            collect(books, invoice)
        elif invoice["status"] == "open":
            send(books, invoice)
    elif invoice["collection_method"] == "charge_automatically":
        collect(books, invoice)
    else:
        invoice["_"]["overdue"] = True
        books.save(invoice)
        books.tell_of(invoice, "invoice.overdue")
        standing.failed(books, invoice)


def send(books: Books, invoice: Json) -> Json:
    """Say that the invoice was sent; the sandbox writes no letters."""
    books.tell_of(invoice, "invoice.sent")
    return invoice
