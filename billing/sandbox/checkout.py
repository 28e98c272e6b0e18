"""Checkout sessions: the hosted page where a customer subscribes, pays, or leaves a card."""

from typing import Any

from billing.sandbox import (
    accounts,
    cards,
    catalogue,
    coupons,
    customers,
    intents,
    items,
    lists,
    methods,
    subscriptions,
    taxes,
)
from billing.sandbox.expansion import on_request
from billing.sandbox.ids import new_id
from billing.sandbox.periods import DAY
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import DUE, Books, listing, take

ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
PLAIN = (
    "allow_promotion_codes",
    "billing_address_collection",
    "cancel_url",
    "client_reference_id",
    "customer_email",
    "locale",
    "metadata",
    "payment_method_collection",
    "submit_type",
    "success_url",
)


def due(session: Json) -> int | None:
    """When an open session expires."""
    return int(session["expires_at"]) if session["status"] == "open" and session["customer"] else None


DUE["checkout.session"] = due


@answers("POST /v1/checkout/sessions")
def create(books: Books, params: Json) -> Json:
    """Open a session, with the page's address in `url`. Raises Refusal where there is nothing to buy."""
    mode = params.get("mode", "payment")
    if mode != "setup" and not params.get("line_items"):
        raise Refusal("Missing required param: line_items.", code="parameter_missing", param="line_items")
    customer = params.get("customer")
    if customer:
        books.get("customer", customer, "customer")
    made = books.new("checkout.session", {name: params[name] for name in PLAIN if name in params}, mode=mode)
    made |= {"status": "open", "payment_status": "unpaid", "customer": customer, "created": books.now(customer)}
    made |= {"metadata": params.get("metadata") or {}, "payment_method_types": ["card"], "ui_mode": "hosted_page"}
    made["expires_at"] = params.get("expires_at", made["created"] + DAY)
    made["url"] = f"{accounts.pages_url()}/checkout/{made['id']}"
    made["tax_id_collection"] = {"enabled": False, "required": "never"} | params.get("tax_id_collection", {})
    rows = [_row(books, one) for one in params.get("line_items") or []]
    _refuse_wrong_mode(mode, rows)
    is_taxed = params.get("automatic_tax", {}).get("enabled", False)
    made["automatic_tax"] = {
        name: taxes.switched(is_taxed)[name] for name in ("enabled", "liability", "provider", "status")
    }
    made["_"] |= {"rows": rows, "subscription_data": params.get("subscription_data") or {}}
    made["_"]["setup_intent_data"] = params.get("setup_intent_data") or {}
    made["_"]["discounts"] = params.get("discounts") or []
    made["currency"] = rows[0]["currency"] if rows else params.get("currency")
    _sum_up(books, made)
    return books.add(made)


def _refuse_wrong_mode(mode: str, rows: list[Json]) -> None:
    is_recurring = any(row["price"]["type"] == "recurring" for row in rows)
    if mode == "subscription" and not is_recurring:
        raise Refusal("You must provide at least one recurring price in `subscription` mode.", param="line_items")
    if mode == "payment" and is_recurring:
        message = "You specified `payment` mode but passed a recurring price."
        raise Refusal(message, param="line_items")


def _row(books: Books, given: Json) -> Json:
    """One line of the session: a price and how many."""
    price = items.price_of(books, given)
    is_metered = catalogue.is_metered(price)
    quantity = None if is_metered else given.get("quantity", 1)
    amount = 0 if quantity is None else catalogue.cents(catalogue.amount_of(price, quantity))
    found = {"id": f"li_{new_id('line_item')[3:]}", "object": "item", "amount_discount": 0, "amount_subtotal": amount}
    found |= {"amount_tax": 0, "amount_total": amount, "currency": price["currency"], "price": price}
    name = items.product_name(books, price)
    return found | {"quantity": quantity, "description": name, "adjustable_quantity": None, "metadata": {}}


def _sum_up(books: Books, session: Json) -> None:
    """What is due now: nothing during a trial, less with coupons."""
    rows: list[Json] = session["_"]["rows"]
    data = session["_"]["subscription_data"]
    is_trial = "trial_end" in data or "trial_period_days" in data
    amounts = [0 if is_trial and row["price"]["recurring"] else row["amount_subtotal"] for row in rows]
    left = list(amounts)
    for given in session["_"]["discounts"]:
        coupon = _coupon(books, given)
        off = coupons.taken_off({"_": {"coupon": coupon}}, left)
        left = [amount - part for amount, part in zip(left, off, strict=True)]
    for row, amount, rest in zip(rows, amounts, left, strict=True):
        row |= {"amount_subtotal": amount, "amount_total": rest, "amount_discount": amount - rest}
    if rows:
        session |= {"amount_subtotal": sum(amounts), "amount_total": sum(left)}
        off_all = sum(amounts) - sum(left)
        session["total_details"] = {"amount_discount": off_all, "amount_shipping": 0, "amount_tax": 0}


def _coupon(books: Books, given: Json) -> Json:
    if "promotion_code" in given:
        code = books.get("promotion_code", given["promotion_code"], "discounts")
        return books.get("coupon", code["promotion"]["coupon"])
    return books.get("coupon", given["coupon"], "discounts")


def complete(books: Books, session_id: str, card: str | None, details: Json) -> Json:
    """The customer's yes on the page: with a test card (`visa`, …), or without one where none is needed.

    `details` may hold email, name, a country with a tax id of it, and a promotion code. Raises Refusal where the card
    is refused: the session stays.
    """
    session = _open(books, session_id)
    customer = _customer(books, session, details)
    if country := details.get("country"):
        _take_address(books, session, customer, country, details.get("tax_id", ""))
    if code := details.get("promotion_code"):
        _take_code(books, session, code)
    method = None
    if card is not None:
        made = methods.make(books, cards.named(card), {"email": customer["email"], "name": customer["name"]})
        methods.authenticate(made)  # the page is where the bank would ask
        method = methods.attach(books, {"customer": customer["id"]}, made["id"])["id"]
    if session["mode"] == "subscription":
        _subscribe(books, session, customer, method)
    elif session["mode"] == "setup":
        given = {"customer": customer["id"], "payment_method": method, "confirm": True}
        session["setup_intent"] = intents.create_setup(books, given | session["_"]["setup_intent_data"])["id"]
        session["payment_status"] = "no_payment_required"
    else:
        _pay(books, session, customer, method)
    session |= {"status": "complete", "url": None}
    session["customer_details"] = {
        "address": customer["address"],
        "business_name": None,
        "email": customer["email"],
        "individual_name": None,
        "name": customer["name"],
        "phone": customer["phone"],
        "tax_exempt": customer["tax_exempt"],
        "tax_ids": [],
    }
    return books.save(session, "checkout.session.completed")


def needs_card(session: Json) -> bool:
    """Whether the page must ask for a card."""
    is_optional = session["payment_method_collection"] == "if_required"
    return not (is_optional and session["amount_total"] == 0)


def _customer(books: Books, session: Json, details: Json) -> Json:
    if session["customer"] is None:
        email = session["customer_email"] or details.get("email") or ""
        session["customer"] = customers.create(books, {"email": email, "name": details.get("name") or email})["id"]
    return books.get("customer", session["customer"])


def asks_country(books: Books, session: Json) -> bool:
    """Whether the page must ask where the customer is, for the taxes."""
    customer = books.get("customer", session["customer"]) if session["customer"] else {"address": None}
    return session["automatic_tax"]["enabled"] and not (customer["address"] or {}).get("country")


def _take_address(books: Books, session: Json, customer: Json, country: str, tax_id: str) -> None:
    """Keep the country, and the tax id where the page asks for one."""
    customer["address"] = dict.fromkeys(ADDRESS) | (customer["address"] or {}) | {"country": country.upper()}
    books.save(customer, "customer.updated")
    if tax_id and session["tax_id_collection"]["enabled"]:
        kind = taxes.REVERSED.get(country.upper(), "us_ein")
        customers.create_tax_id(books, {"type": kind, "value": tax_id}, customer["id"])


def _take_code(books: Books, session: Json, code: str) -> None:
    found = [one for one in books.all("promotion_code") if one["active"] and one["code"].lower() == code.lower()]
    if not found or not session["allow_promotion_codes"]:
        raise Refusal("This code is not valid.", code="promotion_code_invalid", param="promotion_code")
    session["_"]["discounts"] = [{"promotion_code": found[0]["id"]}]
    _sum_up(books, session)


def _subscribe(books: Books, session: Json, customer: Json, method: str | None) -> None:
    rows, data = session["_"]["rows"], dict(session["_"]["subscription_data"])
    recurring = [row for row in rows if row["price"]["recurring"]]
    given: Json = {name: value for name, value in data.items() if name != "invoice_settings"}
    given |= {"customer": customer["id"], "items": [_for_item(row) for row in recurring]}
    given["add_invoice_items"] = [_for_item(row) for row in rows if not row["price"]["recurring"]]
    given |= {"discounts": session["_"]["discounts"], "payment_behavior": "error_if_incomplete"}
    if session["automatic_tax"]["enabled"]:
        given["automatic_tax"] = {"enabled": True}
    if method:
        given["default_payment_method"] = method
    made = subscriptions.create(books, given)
    session |= {"subscription": made["id"], "invoice": made["latest_invoice"]}
    if invoice := books.peek(made["latest_invoice"] or ""):
        session["automatic_tax"]["status"] = invoice["automatic_tax"]["status"]
        tax = sum(one["amount"] for one in invoice["total_taxes"])
        session["total_details"]["amount_tax"] = tax
        session["amount_total"] = invoice["total"]
    session["payment_status"] = "paid" if session["amount_total"] else "no_payment_required"


def _for_item(row: Json) -> Json:
    found = {"price": row["price"]["id"]}
    return found if row["quantity"] is None else found | {"quantity": row["quantity"]}


def _pay(books: Books, session: Json, customer: Json, method: str | None) -> None:
    given: Json = {"amount": session["amount_total"], "currency": session["currency"], "customer": customer["id"]}
    intent = intents.create(books, given | {"payment_method": method, "confirm": True})
    session |= {"payment_intent": intent["id"], "payment_status": "paid"}


def _open(books: Books, wanted: str) -> Json:
    found = books.get("checkout.session", wanted)
    if found["status"] != "open":
        raise Refusal(f"This Checkout Session is {found['status']}.", code="checkout_session_not_open")
    return found


@answers("POST /v1/checkout/sessions/{session}/expire")
def expire(books: Books, params: Json, session: str) -> Json:
    """Close a session that nobody finished."""
    found = _open(books, session)
    found |= {"status": "expired", "url": None}
    return books.save(found, "checkout.session.expired")


@answers("POST /v1/checkout/sessions/{session}")
def update(books: Books, params: Json, session: str) -> Json:
    """Change a session's metadata."""
    found = books.get("checkout.session", session)
    take(found, {name: params[name] for name in ("metadata",) if name in params})
    return books.save(found)


@answers("GET /v1/checkout/sessions/{session}")
def retrieve(books: Books, params: Json, session: str) -> Json:
    """One session."""
    return books.get("checkout.session", session)


@answers("GET /v1/checkout/sessions/{session}/line_items")
def line_items(books: Books, params: Json, session: str) -> Json:
    """What the session is about."""
    rows = books.get("checkout.session", session)["_"]["rows"]
    return lists.paged(rows, params, f"/v1/checkout/sessions/{session}/line_items")


@answers("GET /v1/checkout/sessions")
def list_all(books: Books, params: Json) -> Json:
    """The sessions, newest first."""
    return lists.page(books, "checkout.session", params, "/v1/checkout/sessions")


@on_request("checkout.session", "line_items")
def shown_items(books: Books, session: Json) -> Any:
    """A session's lines are shown on request alone."""
    found = books.get("checkout.session", session["id"])
    return listing(found["_"]["rows"], f"/v1/checkout/sessions/{session['id']}/line_items")
