"""What Stripe's API does to invoices: by hand, and to those that came by themselves."""

from billing.sandbox import coupons, customers, invoice_items, invoices, lists, taxes
from billing.sandbox.expansion import on_request
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, listing, take

TAKEN = ("description", "footer", "custom_fields", "metadata", "default_payment_method", "effective_at", "number")
TAKEN_MORE = ("statement_descriptor", "automatically_finalizes_at")


@answers("POST /v1/invoices")
def create(books: Books, params: Json) -> Json:
    """A draft by hand, with what waits for the customer where `pending_invoice_items_behavior` says include."""
    if "customer" not in params:
        raise Refusal("Missing required param: customer.", code="parameter_missing", param="customer")
    wanted = params.get("subscription")
    subscription = books.get("subscription", wanted, "subscription") if wanted else None
    is_sent = params.get("collection_method") == "send_invoice"
    if is_sent and "days_until_due" not in params and "due_date" not in params:
        raise Refusal("You must pass days_until_due or due_date with send_invoice.", param="days_until_due")
    now = books.now(params["customer"])
    own = books.get("customer", params["customer"], "customer")
    currency = params.get("currency") or own["currency"] or "usd"
    customer = customers.hold_currency(books, params["customer"], currency)
    includes = params.get("pending_invoice_items_behavior", "exclude") == "include" or subscription is not None
    waiting = invoice_items.pending(books, customer["id"], wanted) if includes else []
    method = params.get("collection_method", "charge_automatically")
    made = invoices.draft(
        books,
        customer,
        invoice_items.take_pending(books, waiting),
        reason="manual",
        currency=currency,
        period=(now, now),
        subscription=subscription,
        collection_method=method,
        auto_advance=params.get("auto_advance", False),
        due_date=params.get("due_date"),
    )
    invoice_items.settle(books, waiting, made)
    made["_"]["days_until_due"] = params.get("days_until_due")
    take(made, {name: params[name] for name in (*TAKEN, *TAKEN_MORE) if name in params})
    if not made["auto_advance"]:
        made["automatically_finalizes_at"] = None
    _put_taxes(books, made, params)
    _put_discounts(books, made, params)
    return books.save(made)


def _put_taxes(books: Books, invoice: Json, params: Json) -> None:
    if "automatic_tax" in params:
        invoice["automatic_tax"] = taxes.switched(params["automatic_tax"]["enabled"])
    if "default_tax_rates" in params:
        invoice["default_tax_rates"] = [books.get("tax_rate", one) for one in params["default_tax_rates"] or []]
    invoices.recompute(books, invoice)


def _put_discounts(books: Books, invoice: Json, params: Json) -> None:
    if "discounts" in params:
        given = params["discounts"] or []
        found = [coupons.redeem(books, invoice["customer"], one, invoice=invoice["id"]) for one in given]
        invoices.put_discounts(books, invoice, found)


def _draft(books: Books, wanted: str) -> Json:
    found = books.get("invoice", wanted)
    if found["status"] != "draft":
        raise Refusal("This invoice is no longer editable.", code="invoice_not_editable")
    return found


@answers("POST /v1/invoices/{invoice}")
def update(books: Books, params: Json, invoice: str) -> Json:
    """Change a draft; of a finalized invoice only its metadata and whether it is collected by itself."""
    found = books.get("invoice", invoice)
    allowed = {"metadata", "auto_advance", "default_payment_method", "description"}
    if found["status"] != "draft" and params.keys() - allowed:
        raise Refusal("Finalized invoices can't be updated in this way.", code="invoice_not_editable")
    take(
        found, {name: params[name] for name in (*TAKEN, *TAKEN_MORE, "due_date", "collection_method") if name in params}
    )
    if "days_until_due" in params:
        found["_"]["days_until_due"] = params["days_until_due"]
    if "auto_advance" in params:
        found["auto_advance"] = params["auto_advance"]
        is_moving = params["auto_advance"] and found["status"] == "draft"
        now = books.now(found["customer"])
        found["automatically_finalizes_at"] = now + invoices.DRAFT_FOR if is_moving else None
    if found["status"] == "draft":
        _put_taxes(books, found, params)
    _put_discounts(books, found, params)
    return books.save(found, "invoice.updated")


@answers("DELETE /v1/invoices/{invoice}")
def delete(books: Books, params: Json, invoice: str) -> Json:
    """Forget a draft made by hand; what waited for it waits again."""
    found = _draft(books, invoice)
    if found["parent"] and found["billing_reason"] != "manual":
        raise Refusal("You can only delete one-off invoices.")
    for item in books.all("invoiceitem", found["customer"], invoice=invoice):
        item["invoice"] = None
        books.save(item)
    return books.remove(found, "invoice.deleted")


@answers("POST /v1/invoices/{invoice}/finalize")
def finalize(books: Books, params: Json, invoice: str) -> Json:
    """Close a draft; one that is collected by itself is tried within the hour."""
    found = _draft(books, invoice)
    if "auto_advance" in params:
        found["auto_advance"] = params["auto_advance"]
    invoices.finalize(books, found)
    if found["auto_advance"] and found["status"] == "open" and found["collection_method"] == "charge_automatically":
        found["next_payment_attempt"] = books.now(found["customer"]) + invoices.DRAFT_FOR
        books.save(found)
    return found


@answers("POST /v1/invoices/{invoice}/pay")
def pay(books: Books, params: Json, invoice: str) -> Json:
    """Take the payment now, or note that it came out of band. Raises Refusal (402) for the bank's no."""
    found = books.get("invoice", invoice)
    if was_draft := found["status"] == "draft":
        invoices.finalize(books, found)
    if found["status"] == "paid":
        if was_draft:  # nothing was due
            return found
        raise Refusal("Invoice is already paid", code="invoice_already_paid")
    if found["status"] not in {"open", "uncollectible"}:
        raise Refusal(f"This invoice is {found['status']} and cannot be paid.", code="invoice_not_payable")
    if params.get("paid_out_of_band"):
        return invoices.mark_paid(books, found, out_of_band=True)
    refusal = invoices.collect(books, found, params.get("payment_method"), off_session=params.get("off_session", True))
    if refusal is None and found["status"] == "open":
        message = "Your card was declined. This transaction requires authentication."
        refusal = Refusal(message, status=402, kind="card_error", code="authentication_required", keeps=True)
    if refusal is not None:
        raise refusal
    return found


@answers("POST /v1/invoices/{invoice}/send")
def send(books: Books, params: Json, invoice: str) -> Json:
    """Send an invoice: a draft is finalized first. The sandbox writes no letters."""
    found = books.get("invoice", invoice)
    if found["collection_method"] != "send_invoice":
        raise Refusal("You can only manually send an invoice if its collection method is 'send_invoice'.")
    if found["status"] == "draft":
        invoices.finalize(books, found)
    return invoices.send(books, found)


@answers("POST /v1/invoices/{invoice}/void")
def void(books: Books, params: Json, invoice: str) -> Json:
    """Void an open invoice."""
    return invoices.void(books, books.get("invoice", invoice))


@answers("POST /v1/invoices/{invoice}/mark_uncollectible")
def mark_uncollectible(books: Books, params: Json, invoice: str) -> Json:
    """Write an open invoice off."""
    return invoices.void(books, books.get("invoice", invoice), is_uncollectible=True)


@answers("GET /v1/invoices/{invoice}")
def retrieve(books: Books, params: Json, invoice: str) -> Json:
    """One invoice."""
    return books.get("invoice", invoice)


@answers("GET /v1/invoices/{invoice}/lines")
def list_lines(books: Books, params: Json, invoice: str) -> Json:
    """The lines of an invoice, in order."""
    return lists.paged(books.get("invoice", invoice)["lines"]["data"], params, f"/v1/invoices/{invoice}/lines")


@answers("GET /v1/invoices")
def list_all(books: Books, params: Json) -> Json:
    """The invoices, newest first; `subscription` chooses."""
    wanted = params.pop("subscription", None)
    due = params.pop("due_date", None)

    def fits(one: Json) -> bool:
        details = (one["parent"] or {}).get("subscription_details") or {}
        is_of = wanted is None or details.get("subscription") == wanted
        return is_of and (due is None or lists.in_range(one["due_date"], due))

    return lists.page(books, "invoice", params, "/v1/invoices", fits)


@answers("GET /v1/invoice_payments")
def list_payments(books: Books, params: Json) -> Json:
    """How invoices are paid, newest first."""
    wanted = params.pop("payment", {})
    intent = wanted.get("payment_intent")
    return lists.page(
        books,
        "invoice_payment",
        params,
        "/v1/invoice_payments",
        lambda one: intent is None or one["payment"]["payment_intent"] == intent,
    )


@answers("GET /v1/invoice_payments/{invoice_payment}")
def retrieve_payment(books: Books, params: Json, invoice_payment: str) -> Json:
    """One payment of an invoice."""
    return books.get("invoice_payment", invoice_payment)


@on_request("invoice", "payments")
def payments(books: Books, invoice: Json) -> Json:
    """An invoice's payments are shown on request alone."""
    return listing(books.all("invoice_payment", invoice=invoice["id"]), "/v1/invoice_payments")


@on_request("invoice", "confirmation_secret")
def confirmation_secret(books: Books, invoice: Json) -> Json | None:
    """What a page needs to let the customer pay an open invoice."""
    payment = invoices.payment_of(books, invoice)
    if payment is None:
        return None
    intent = books.get("payment_intent", payment["payment"]["payment_intent"])
    return {"client_secret": intent["client_secret"], "type": "payment_intent"}


def invoice_of(books: Books, intent: str) -> Json | None:
    """The invoice that the payment intent pays, or None."""
    for payment in books.all("invoice_payment"):
        if payment["payment"].get("payment_intent") == intent:
            return books.get("invoice", payment["invoice"])
    return None
