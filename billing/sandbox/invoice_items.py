"""Invoice items: what waits for a customer's next invoice, or goes onto a draft by hand."""

from decimal import Decimal
from typing import Any

from billing.sandbox import catalogue, customers, invoices, lines, lists
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, take


def put(
    books: Books,
    customer: str,
    *,
    amount: int,
    currency: str,
    description: str,
    period: tuple[int, int],
    price: Json | None = None,
    quantity: Decimal | int = 1,
    subscription: str | None = None,
    item: str | None = None,
    is_proration: bool = False,
    is_discountable: bool = True,
    **more: Any,
) -> Json:
    """An invoice item that waits for the next invoice of the subscription, or of the customer."""
    now = books.now(customer)
    made = books.new("invoiceitem", customer=customer, amount=amount, currency=currency, description=description)
    made |= {"date": now, "discountable": is_discountable, "discounts": [], "metadata": {}, "net_amount": amount}
    made |= {"period": {"start": period[0], "end": period[1]}, "proration": is_proration, "tax_rates": []}
    made |= {"quantity": int(quantity), "quantity_decimal": f"{Decimal(quantity).normalize():f}", "invoice": None}
    made |= {"pricing": lines.pricing(price) if price else None, "parent": None} | more
    made["test_clock"] = books.get("customer", customer)["test_clock"]
    if is_proration:
        made["proration_details"] = {"discount_amounts": [], "credited_items": None}
    if subscription:
        details = {"subscription": subscription, "subscription_item": item or ""}
        made["parent"] = {"type": "subscription_details", "subscription_details": details}
    made["_"] |= {"price": price, "subscription": subscription, "item": item}
    return books.add(made, "invoiceitem.created")


def pending(books: Books, customer: str, subscription: str | None) -> list[Json]:
    """What waits for an invoice of the subscription (or one of the customer alone), oldest first."""
    waiting = books.all("invoiceitem", customer, invoice=None)
    return [one for one in reversed(waiting) if one["_"]["subscription"] in {None, subscription}]


def take_pending(books: Books, waiting: list[Json]) -> list[Json]:
    """The lines of what waited; `settle` says afterwards which invoice has them."""
    return [_line(one) for one in waiting]


def settle(books: Books, waiting: list[Json], invoice: Json) -> None:
    """Note the invoice in what waited for it."""
    for one in waiting:
        one["invoice"] = invoice["id"]
        books.save(one)


def _line(waiting: Json) -> Json:
    inner = waiting["_"]
    is_of_item = waiting["proration"] and inner["item"]
    parent = (
        lines.of_item(inner["subscription"], inner["item"], is_proration=True, invoice_item=waiting["id"])
        if is_of_item
        else lines.of_invoice_item(waiting["id"], inner["subscription"])
    )
    made = lines.line(
        amount=waiting["amount"],
        currency=waiting["currency"],
        description=waiting["description"],
        period=(waiting["period"]["start"], waiting["period"]["end"]),
        price=inner["price"],
        quantity=Decimal(waiting["quantity_decimal"]),
        is_discountable=waiting["discountable"],
        metadata=dict(waiting["metadata"]),
        parent=parent,
        subscription=inner["subscription"],
    )
    made["_"] = {"item": inner["item"] if is_of_item and waiting["amount"] > 0 else None}
    return made


@answers("POST /v1/invoiceitems")
def create(books: Books, params: Json) -> Json:
    """Add an item by hand, to a draft or to the next invoice."""
    if "customer" not in params:
        raise Refusal("Missing required param: customer.", code="parameter_missing", param="customer")
    price, amount, quantity = _worth(books, params)
    currency = price["currency"] if price else params.get("currency", "usd")
    customers.hold_currency(books, params["customer"], currency)
    now = books.now(params["customer"])
    period = params.get("period", {"start": now, "end": now})
    made = put(
        books,
        params["customer"],
        amount=amount,
        currency=currency,
        description=params.get("description", "") or (books.get("product", price["product"])["name"] if price else ""),
        period=(period["start"], period["end"]),
        price=price,
        quantity=quantity,
        subscription=params.get("subscription"),
        is_discountable=params.get("discountable", amount >= 0),
    )
    take(made, {"metadata": params.get("metadata") or {}})
    if wanted := params.get("invoice"):
        invoice = books.get("invoice", wanted, "invoice")
        if invoice["status"] != "draft":
            raise Refusal("Invoice items can only be added to draft invoices.", code="invoice_not_editable")
        invoice["lines"]["data"].append(_line(made))
        settle(books, [made], invoice)
        invoices.recompute(books, invoice)
        books.save(invoice, "invoice.updated")
    return books.save(made)


def _worth(books: Books, params: Json) -> tuple[Json | None, int, Decimal]:
    """Price, amount in minor units and quantity of what is asked for. Raises Refusal."""
    quantity = Decimal(str(params.get("quantity_decimal", params.get("quantity", 1))))
    if "amount" in params:
        return None, params["amount"], Decimal(1)
    if "unit_amount_decimal" in params:
        return None, catalogue.cents(Decimal(params["unit_amount_decimal"]) * quantity), quantity
    if described := params.get("price_data"):
        price = catalogue.create_price(books, dict(described))
    elif "pricing" in params:
        price = books.get("price", params["pricing"]["price"], "pricing[price]")
    else:
        raise Refusal("You must pass an amount, a price or price_data.", param="amount", code="parameter_missing")
    if price["type"] != "one_time":
        raise Refusal(
            "The price specified is recurring; an invoice item takes one-time prices.", param="pricing[price]"
        )
    return price, catalogue.cents(catalogue.amount_of(price, quantity)), quantity


@answers("POST /v1/invoiceitems/{invoiceitem}")
def update(books: Books, params: Json, invoiceitem: str) -> Json:
    """Change an item that waits."""
    found = _editable(books, invoiceitem)
    take(found, params)
    found["net_amount"] = found["amount"]
    return books.save(found, "invoiceitem.updated")


@answers("DELETE /v1/invoiceitems/{invoiceitem}")
def delete(books: Books, params: Json, invoiceitem: str) -> Json:
    """Take an item away."""
    return books.remove(_editable(books, invoiceitem), "invoiceitem.deleted")


def _editable(books: Books, wanted: str) -> Json:
    found = books.get("invoiceitem", wanted)
    if found["invoice"] is not None:
        raise Refusal("This invoice item is on an invoice and can no longer be changed.", code="invoice_not_editable")
    return found


@answers("GET /v1/invoiceitems/{invoiceitem}")
def retrieve(books: Books, params: Json, invoiceitem: str) -> Json:
    """One item."""
    return books.get("invoiceitem", invoiceitem)


@answers("GET /v1/invoiceitems")
def list_all(books: Books, params: Json) -> Json:
    """The items, newest first; `pending` chooses those that wait."""
    is_pending = params.pop("pending", None)
    params.pop("created", None)
    return lists.page(
        books,
        "invoiceitem",
        params,
        "/v1/invoiceitems",
        lambda one: is_pending is None or (one["invoice"] is None) == is_pending,
    )
