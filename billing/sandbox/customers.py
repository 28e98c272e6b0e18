"""Customers, their tax ids and their balance."""

from typing import Any

from billing.sandbox import lists, methods, standing
from billing.sandbox.expansion import on_request
from billing.sandbox.ids import token
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, listing, take

LIVE = ("trialing", "active", "past_due", "unpaid", "paused", "incomplete")


@answers("POST /v1/customers")
def create(books: Books, params: Json) -> Json:
    """Add a customer, who may live on a test clock."""
    clock = params.get("test_clock")
    if clock:
        books.get("test_helpers.test_clock", clock, "test_clock")
    made = books.new("customer", params)
    made |= {"balance": params.get("balance", 0), "delinquent": False, "test_clock": clock, "default_source": None}
    made |= {"invoice_prefix": params.get("invoice_prefix") or token(8).upper(), "tax_exempt": "none"}
    made |= {"next_invoice_sequence": params.get("next_invoice_sequence", 1), "preferred_locales": []}
    made["invoice_settings"] = {
        "custom_fields": None,
        "default_payment_method": None,
        "footer": None,
        "rendering_options": None,
    }
    take(made, {name: params[name] for name in ("tax_exempt", "preferred_locales") if name in params})
    if clock:
        made["created"] = books.get("test_helpers.test_clock", clock)["frozen_time"]
    books.add(made, "customer.created")
    for given in params.get("tax_id_data", []):
        create_tax_id(books, dict(given), made["id"])
    settings = dict(params.get("invoice_settings") or {})
    if method := params.get("payment_method"):
        attached = methods.attach(books, {"customer": made["id"]}, method)["id"]
        if settings.get("default_payment_method") == method:  # both may name a test card: one card is made of it
            settings["default_payment_method"] = attached
    elif source := params.get("source"):
        attached = methods.attach(books, {"customer": made["id"]}, f"pm_card_{source.removeprefix('tok_')}")["id"]
        settings["default_payment_method"] = attached
    _set_invoice_settings(books, made, settings)
    return books.save(made)


def _set_invoice_settings(books: Books, found: Json, settings: Json) -> None:
    settings = dict(settings)
    method = settings.get("default_payment_method")
    if method and books.get("payment_method", method, "payment_method")["customer"] != found["id"]:
        message = "The customer does not have a payment method with the ID " + method
        raise Refusal(message, param="invoice_settings[default_payment_method]", code="resource_missing")
    found["invoice_settings"] |= {name: None if value == "" else value for name, value in settings.items()}


@answers("POST /v1/customers/{customer}")
def update(books: Books, params: Json, customer: str) -> Json:
    """Change a customer."""
    found = books.get("customer", customer)
    balance = params.pop("balance", None)
    if settings := params.pop("invoice_settings", None):
        _set_invoice_settings(books, found, settings)
    take(found, params)
    if balance is not None and balance != found["balance"]:
        move_balance(books, found, balance - found["balance"], "adjustment")
    return books.save(found, "customer.updated")


@answers("GET /v1/customers/{customer}")
def retrieve(books: Books, params: Json, customer: str) -> Json:
    """One customer; of a deleted one, that it was deleted."""
    found = books.get("customer", customer)
    return {"id": customer, "object": "customer", "deleted": True} if found["_"].get("deleted") else found


@answers("DELETE /v1/customers/{customer}")
def delete(books: Books, params: Json, customer: str) -> Json:
    """Delete a customer: live subscriptions end at once, invoices stay."""
    found = books.get("customer", customer)
    for subscription in books.all("subscription", customer):
        if subscription["status"] in LIVE:
            standing.end(books, subscription, "cancellation_requested")
    found["_"]["deleted"] = True
    books.save(found, "customer.deleted")
    return {"id": customer, "object": "customer", "deleted": True}


@answers("GET /v1/customers")
def list_all(books: Books, params: Json) -> Json:
    """The customers, newest first; `email` and `test_clock` choose."""
    return lists.page(books, "customer", params, "/v1/customers", lambda one: not one["_"].get("deleted"))


@on_request("customer", "subscriptions")
def subscriptions(books: Books, customer: Json) -> Json:
    """A customer's live subscriptions are shown on request alone."""
    found = [one for one in books.all("subscription", customer["id"]) if one["status"] in LIVE]
    return listing(found, f"/v1/customers/{customer['id']}/subscriptions")


@on_request("customer", "tax_ids")
def tax_ids(books: Books, customer: Json) -> Json:
    """A customer's tax ids are shown on request alone."""
    return list_tax_ids(books, {}, customer["id"])


@on_request("customer", "sources")
def sources(books: Books, customer: Json) -> Json:
    """Nobody has the old kind of cards."""
    return listing([], f"/v1/customers/{customer['id']}/sources")


@on_request("customer", "tax")
def tax(books: Books, customer: Json) -> Json:
    """No taxes are computed."""
    return {"automatic_tax": "not_collecting", "ip_address": None, "location": None, "provider": "stripe"}


@answers("POST /v1/customers/{customer}/tax_ids")
def create_tax_id(books: Books, params: Json, customer: str) -> Json:
    """Add a tax id. Its form is checked, its owner is verified at once: numbers without a digit are refused."""
    books.get("customer", customer)
    if not any(character.isdigit() for character in params["value"]):
        raise Refusal(f"Invalid value for {params['type']}.", code="tax_id_invalid", param="value")
    value = params["value"].upper().replace(" ", "")
    if any((one["type"], one["value"]) == (params["type"], value) for one in books.all("tax_id", customer)):
        raise Refusal("The customer has this tax id already.", code="resource_already_exists", param="value")
    made = books.new("tax_id", params, customer=customer, value=value)
    made["country"] = value[:2] if value[:2].isalpha() else None
    made["verification"] = {"status": "verified", "verified_address": None, "verified_name": None}
    made["owner"] = {"type": "customer", "customer": customer}
    return books.add(made, "customer.tax_id.created")


@answers("GET /v1/customers/{customer}/tax_ids")
def list_tax_ids(books: Books, params: Json, customer: str) -> Json:
    """The customer's tax ids, newest first."""
    books.get("customer", customer)
    return lists.paged(books.all("tax_id", customer), params, f"/v1/customers/{customer}/tax_ids")


@answers("GET /v1/customers/{customer}/tax_ids/{id}")
def retrieve_tax_id(books: Books, params: Json, customer: str, id: str) -> Json:  # noqa: A002  # the contract's own name
    """One tax id of the customer."""
    found = books.get("tax_id", id)
    if found["customer"] != customer:
        raise Refusal(f"No such tax_id: '{id}'", status=404, code="resource_missing", param="id")
    return found


@answers("DELETE /v1/customers/{customer}/tax_ids/{id}")
def delete_tax_id(books: Books, params: Json, customer: str, id: str) -> Json:  # noqa: A002
    """Take a tax id away."""
    return books.remove(retrieve_tax_id(books, {}, customer, id), "customer.tax_id.deleted")


def move_balance(books: Books, customer: Json, amount: int, kind: str, **of: Any) -> Json:
    """Add to what the customer owes (negative: is owed), and keep the transaction."""
    customer["balance"] += amount
    moved = books.new("customer_balance_transaction", customer=customer["id"], amount=amount, type=kind, **of)
    moved |= {"currency": customer["currency"] or "usd", "ending_balance": customer["balance"]}
    books.add(moved, "customer_balance_transaction.created" if kind == "adjustment" else None)
    books.save(customer, "customer.updated")
    return moved


@answers("POST /v1/customers/{customer}/balance_transactions")
def create_balance_transaction(books: Books, params: Json, customer: str) -> Json:
    """Credit (negative) or debit the customer's balance by hand."""
    found = books.get("customer", customer)
    _hold_currency(found, params["currency"])
    moved = move_balance(books, found, params["amount"], "adjustment")
    take(moved, {name: value for name, value in params.items() if name in {"description", "metadata"}})
    return books.save(moved)


@answers("GET /v1/customers/{customer}/balance_transactions")
def list_balance_transactions(books: Books, params: Json, customer: str) -> Json:
    """What moved the customer's balance, newest first."""
    books.get("customer", customer)
    found = books.all("customer_balance_transaction", customer)
    return lists.paged(found, params, f"/v1/customers/{customer}/balance_transactions")


def _hold_currency(customer: Json, currency: str) -> None:
    """Give the customer its currency. Raises Refusal where it has another: a customer pays in one."""
    if customer["currency"] not in {None, currency}:
        raise Refusal(
            f"You cannot combine currencies on a single customer. This customer has {customer['currency']}.",
            param="currency",
        )
    customer["currency"] = currency


def hold_currency(books: Books, customer: str, currency: str) -> Json:
    """The customer, who pays in this currency from now on. Raises Refusal where it pays in another."""
    found = books.get("customer", customer)
    if found["_"].get("deleted"):
        raise Refusal(f"No such customer: '{customer}'", code="resource_missing", param="customer")
    if found["currency"] != currency:
        _hold_currency(found, currency)
        books.save(found, "customer.updated")
    return found
