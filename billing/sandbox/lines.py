"""Lines of invoices, and the sums under them."""

from decimal import Decimal
from typing import Any

from billing.sandbox import coupons
from billing.sandbox.ids import new_id
from billing.sandbox.refusals import Json


def line(
    *,
    amount: int,
    currency: str,
    description: str,
    period: tuple[int, int],
    price: Json | None = None,
    quantity: Decimal | int | None = 1,
    is_discountable: bool = True,
    metadata: Json | None = None,
    parent: Json | None = None,
    subscription: str | None = None,
) -> Json:
    """One line; `parent` says what it is for (`of_item`, `of_invoice_item`)."""
    return {
        "id": new_id("line_item"),
        "object": "line_item",
        "amount": amount,
        "currency": currency,
        "description": description,
        "discount_amounts": [],
        "discountable": is_discountable,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": metadata or {},
        "parent": parent,
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": pricing(price) if price else None,
        "quantity": None if quantity is None else int(quantity),
        "quantity_decimal": None if quantity is None else f"{Decimal(quantity).normalize():f}",
        "subscription": subscription,
        "subtotal": amount,
        "taxes": [],
    }


def pricing(price: Json) -> Json:
    """How a line says which price it has."""
    return {
        "type": "price_details",
        "price_details": {"price": price["id"], "product": price["product"]},
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def of_item(subscription: str, item: str, *, is_proration: bool = False, invoice_item: str | None = None) -> Json:
    """The parent of a line for an item of a subscription."""
    details = {"credited_items": None} if is_proration else None
    return {
        "type": "subscription_item_details",
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": invoice_item,
            "proration": is_proration,
            "proration_details": details,
            "subscription": subscription,
            "subscription_item": item,
        },
    }


def of_invoice_item(invoice_item: str, subscription: str | None) -> Json:
    """The parent of a line for an invoice item."""
    return {
        "type": "invoice_item_details",
        "subscription_item_details": None,
        "invoice_item_details": {
            "invoice_item": invoice_item,
            "proration": False,
            "proration_details": None,
            "subscription": subscription,
        },
    }


def sum_up(invoice: Json, discounts: list[Json]) -> None:
    """Compute every amount of a draft from its lines and the discounts, without taxes and what is due."""
    rows: list[Json] = invoice["lines"]["data"]
    left = {row["id"]: row["amount"] for row in rows if row["discountable"]}
    for row in rows:
        row["discount_amounts"] = []
    off: list[Json] = []
    for discount in discounts:
        eligible = [row for row in rows if row["id"] in left and _is_for(discount, row)]
        parts = coupons.taken_off(discount, [left[row["id"]] for row in eligible])
        for row, part in zip(eligible, parts, strict=True):
            left[row["id"]] -= part
            row["discount_amounts"].append({"amount": part, "discount": discount["id"]})
        off.append({"amount": sum(parts), "discount": discount["id"]})
    subtotal = sum(row["amount"] for row in rows)
    total = subtotal - sum(one["amount"] for one in off)
    invoice |= {"subtotal": subtotal, "total": total, "total_discount_amounts": off}
    invoice["total_pretax_credit_amounts"] = []


def put_due(invoice: Json) -> None:
    """What is due of the total, with the customer's balance (`starting_balance`)."""
    total = invoice["total"]
    due = max(0, total + invoice["starting_balance"]) if total > 0 else 0
    invoice |= {"amount_due": due, "amount_remaining": due - invoice["amount_paid"]}


def net(row: Json) -> int:
    """What a line costs after its discounts."""
    off: int = sum(one["amount"] for one in row["discount_amounts"])
    return int(row["amount"]) - off


def _is_for(discount: Json, row: Json) -> bool:
    products: Any = discount["_"]["coupon"].get("applies_to", {}).get("products")
    return not products or (row["pricing"] or {}).get("price_details", {}).get("product") in products
