"""Refunds of charges, and credit notes on invoices."""

from billing.sandbox import accounts, customers, invoices, lists
from billing.sandbox.ids import new_id
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, listing, take


@answers("POST /v1/refunds")
def create(books: Books, params: Json) -> Json:
    """Give a charge back, whole or in part. Raises Refusal for more than is left of it."""
    wanted = params.get("charge")
    if intent := params.get("payment_intent"):
        wanted = books.get("payment_intent", intent, "payment_intent")["latest_charge"]
    if not wanted:
        raise Refusal("Missing required param: payment_intent.", code="parameter_missing", param="payment_intent")
    charge = books.get("charge", wanted, "charge")
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if charge["disputed"]:
        raise Refusal("This charge is disputed: it cannot be refunded.", code="charge_disputed")
    if charge["status"] != "succeeded" or left == 0:
        raise Refusal(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if not 0 < amount <= left:
        raise Refusal(f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).", param="amount")
    made = books.new("refund", charge=charge["id"], amount=amount, currency=charge["currency"], status="succeeded")
    made |= {"payment_intent": charge["payment_intent"], "reason": params.get("reason")}
    made |= {"metadata": params.get("metadata") or {}, "created": books.now(charge["customer"])}
    books.add(made, "refund.created")
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    books.save(charge, "charge.refunded")
    return made


@answers("POST /v1/refunds/{refund}")
def update(books: Books, params: Json, refund: str) -> Json:
    """Change a refund's metadata."""
    found = books.get("refund", refund)
    take(found, params)
    books.save(found, "refund.updated")
    books.tell_of(found, "charge.refund.updated")
    return found


@answers("GET /v1/refunds/{refund}")
def retrieve(books: Books, params: Json, refund: str) -> Json:
    """One refund."""
    return books.get("refund", refund)


@answers("GET /v1/refunds")
def list_all(books: Books, params: Json) -> Json:
    """The refunds, newest first."""
    return lists.page(books, "refund", params, "/v1/refunds")


@answers("POST /v1/credit_notes")
def create_note(books: Books, params: Json) -> Json:
    """Credit an invoice: an open one is owed less, a paid one is given back as the caller splits it."""
    invoice = books.get("invoice", params["invoice"], "invoice")
    if invoice["status"] not in {"open", "paid"}:
        raise Refusal("You can only create a credit note for an open or paid invoice.", param="invoice")
    rows, amount = _worth(invoice, params)
    noted = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    if not 0 < amount <= invoice["total"] - noted:
        raise Refusal("The credit note is worth more than what is left of the invoice.", param="amount")
    customer = books.get("customer", invoice["customer"])
    number = len(books.all("credit_note", customer["id"], invoice=invoice["id"])) + 1
    made = books.new("credit_note", customer=customer["id"], invoice=invoice["id"], currency=invoice["currency"])
    made |= {
        "amount": amount,
        "subtotal": amount,
        "total": amount,
        "subtotal_excluding_tax": amount,
        "status": "issued",
    }
    made |= {
        "total_excluding_tax": amount,
        "number": f"{invoice['number']}-CN-{number:02d}",
        "lines": listing(rows, ""),
    }
    made["lines"]["url"] = f"/v1/credit_notes/{made['id']}/lines"
    made |= {"memo": params.get("memo"), "reason": params.get("reason"), "metadata": params.get("metadata") or {}}
    made |= {"created": books.now(customer["id"]), "effective_at": params.get("effective_at"), "total_taxes": []}
    made["pdf"] = f"{accounts.pages_url()}/invoice/{invoice['id']}/{invoice['_']['page']}?print=1"
    if invoice["status"] == "open":
        _owe_less(books, invoice, made)
    else:
        _give_back(books, invoice, customer, made, params)
    return books.add(made, "credit_note.created")


def _worth(invoice: Json, params: Json) -> tuple[list[Json], int]:
    """The lines of the note and their sum. Raises Refusal for a line that the invoice does not have."""
    if "lines" not in params:
        asked = [params.get(name, 0) for name in ("credit_amount", "refund_amount", "out_of_band_amount")]
        amount = params.get("amount") or sum(asked)
        return [_row(amount, "custom_line_item", description="Credit")], amount
    rows = []
    for given in params["lines"]:
        if given["type"] == "custom_line_item":
            amount = given.get("unit_amount", 0) * given.get("quantity", 1)
            rows.append(_row(amount, "custom_line_item", description=given.get("description")))
            continue
        known = [one for one in invoice["lines"]["data"] if one["id"] == given.get("invoice_line_item")]
        if not known:
            raise Refusal("No such invoice line item", code="resource_missing", param="lines")
        amount = given.get("amount", known[0]["amount"])
        rows.append(
            _row(amount, "invoice_line_item", invoice_line_item=known[0]["id"], description=known[0]["description"])
        )
    return rows, sum(row["amount"] for row in rows)


def _row(amount: int, kind: str, **more: object) -> Json:
    made: Json = {"id": new_id("credit_note_line_item"), "object": "credit_note_line_item", "amount": amount}
    made |= {
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": False,
        "pretax_credit_amounts": [],
        "quantity": 1,
    }
    made |= {"tax_rates": [], "taxes": [], "type": kind, "unit_amount": amount, "unit_amount_decimal": str(amount)}
    return made | {"metadata": {}} | more


def _owe_less(books: Books, invoice: Json, note: Json) -> None:
    note |= {"type": "pre_payment", "pre_payment_amount": note["amount"], "post_payment_amount": 0}
    invoice["pre_payment_credit_notes_amount"] += note["amount"]
    invoice["amount_due"] = max(0, invoice["amount_due"] - note["amount"])
    invoice["amount_remaining"] = invoice["amount_due"] - invoice["amount_paid"]
    if payment := invoices.payment_of(books, invoice):
        payment["amount_requested"] = invoice["amount_remaining"]
        books.save(payment)
        intent = books.get("payment_intent", payment["payment"]["payment_intent"])
        intent["amount"] = invoice["amount_remaining"]
        books.save(intent)
    books.save(invoice, "invoice.updated")
    if invoice["amount_remaining"] == 0:
        invoices.mark_paid(books, invoice)


def _give_back(books: Books, invoice: Json, customer: Json, note: Json, params: Json) -> None:
    refunded, outside = params.get("refund_amount", 0), params.get("out_of_band_amount", 0)
    credited = params.get("credit_amount", 0)
    if refunded + outside + credited != note["amount"]:
        message = "The sum of credit amount, refund amount and out of band amount must equal the credit note amount."
        raise Refusal(message, param="amount")
    note |= {"type": "post_payment", "post_payment_amount": note["amount"], "pre_payment_amount": 0}
    note["out_of_band_amount"] = outside or None
    invoice["post_payment_credit_notes_amount"] += note["amount"]
    if refunded:
        paid = books.all("invoice_payment", invoice=invoice["id"], status="paid")
        if not paid:
            raise Refusal("The invoice was not paid by a charge.", param="refund_amount")
        intent = paid[0]["payment"]["payment_intent"]
        made = create(books, {"payment_intent": intent, "amount": refunded})
        note["refunds"] = [
            {"amount_refunded": refunded, "refund": made["id"], "type": "refund", "payment_record_refund": None}
        ]
    if credited:
        moved = customers.move_balance(books, customer, -credited, "credit_note", credit_note=note["id"])
        note["customer_balance_transaction"] = moved["id"]
    books.save(invoice, "invoice.updated")


@answers("POST /v1/credit_notes/{id}")
def update_note(books: Books, params: Json, id: str) -> Json:  # noqa: A002  # the contract's own name
    """Change a note's memo or metadata."""
    found = books.get("credit_note", id)
    take(found, params)
    return books.save(found, "credit_note.updated")


@answers("POST /v1/credit_notes/{id}/void")
def void_note(books: Books, params: Json, id: str) -> Json:  # noqa: A002
    """Take a note on an open invoice back."""
    found = books.get("credit_note", id)
    invoice = books.get("invoice", found["invoice"])
    if found["type"] != "pre_payment" or invoice["status"] != "open" or found["status"] == "void":
        raise Refusal("Only a credit note on an open invoice can be voided.")
    found |= {"status": "void", "voided_at": books.now(found["customer"])}
    invoice["pre_payment_credit_notes_amount"] -= found["amount"]
    invoice["amount_due"] += found["amount"]
    invoice["amount_remaining"] += found["amount"]
    books.save(invoice, "invoice.updated")
    return books.save(found, "credit_note.voided")


@answers("GET /v1/credit_notes/{id}")
def retrieve_note(books: Books, params: Json, id: str) -> Json:  # noqa: A002
    """One note."""
    return books.get("credit_note", id)


@answers("GET /v1/credit_notes")
def list_notes(books: Books, params: Json) -> Json:
    """The notes, newest first."""
    return lists.page(books, "credit_note", params, "/v1/credit_notes")


@answers("GET /v1/credit_notes/{credit_note}/lines")
def list_note_lines(books: Books, params: Json, credit_note: str) -> Json:
    """The lines of a note."""
    found = books.get("credit_note", credit_note)
    return lists.paged(found["lines"]["data"], params, f"/v1/credit_notes/{credit_note}/lines")
