"""What the hosted pages show, in words and money."""

from decimal import Decimal
from typing import Any

from billing.sandbox import accounts, checkout, items, taxes
from billing.sandbox.cards import CARDS
from billing.sandbox.refusals import Json
from billing.sandbox.store import Books

OFFERED = {
    "visa": "Pays.",
    "mastercard": "Pays.",
    "chargeCustomerFail": "Can be kept, but every charge fails: choose it in the portal to make a renewal fail.",
    "chargeDeclined": "Is declined at once.",
    "chargeDeclinedInsufficientFunds": "Is declined: too little money.",
    "chargeDeclinedExpiredCard": "Is declined: expired.",
    "createDispute": "Pays, and its holder disputes it at once.",
    "threeDSecure2Required": "Its bank asks whether it is you.",
}
STATUS = {"incomplete": "waits for its first payment", "past_due": "past due", "incomplete_expired": "expired"}


def cards() -> list[dict[str, str]]:
    """The test cards that the pages offer."""
    return [{"name": name, "number": _spaced(CARDS[name].number), "what": what} for name, what in OFFERED.items()]


def _spaced(number: str) -> str:
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4))


def money(amount: int, currency: str) -> str:
    """Minor units in words, as `$20.00`."""
    text = items.money(abs(Decimal(amount)), currency)
    return f"\N{MINUS SIGN}{text}" if amount < 0 else text


def of_checkout(books: Books, session: Json) -> Json:
    """An open session."""
    rows, currency = session["_"]["rows"], session["currency"] or "usd"
    data = session["_"]["subscription_data"]
    days = data.get("trial_period_days")
    trial = f"The first {days} days are free." if days else ""
    if not days and data.get("trial_end"):
        trial = f"Free until {items.day(data['trial_end'])}."
    heading = {"subscription": "Subscribe", "payment": "Pay", "setup": "Leave a card"}[session["mode"]]
    details = session["total_details"] or {"amount_discount": 0}
    return {
        "heading": heading,
        "rows": [
            {
                "what": row["description"],
                "price": items.at(row["price"]) if row["price"]["recurring"] else "once",
                "quantity": row["quantity"] if row["quantity"] is not None else "as used",
                "amount": money(row["amount_subtotal"], currency),
            }
            for row in rows
        ],
        "discount": money(-details["amount_discount"], currency) if details["amount_discount"] else "",
        "total": money(session["amount_total"] or 0, currency),
        "trial": trial,
        "asks_email": session["customer"] is None and not session["customer_email"],
        "countries": _countries() if checkout.asks_country(books, session) else [],
        "takes_codes": session["allow_promotion_codes"],
        "needs_card": checkout.needs_card(session),
        "cancel_url": session["cancel_url"],
        "cards": cards(),
    }


def _countries() -> list[dict[str, str]]:
    """Where a customer may be, and what that adds."""
    return [
        {"code": one, "tax": f"{taxes.COLLECTED[one]} %" if one in taxes.COLLECTED else "no tax"}
        for one in sorted({*taxes.COLLECTED, accounts.COUNTRY})
    ]


def of_portal(books: Books, session: Json) -> Json:
    """A customer's portal."""
    customer = books.get("customer", session["customer"])
    features = books.get("billing_portal.configuration", session["configuration"])["features"]
    running = [one for one in books.all("subscription", customer["id"]) if one["status"] != "incomplete_expired"]
    default = customer["invoice_settings"]["default_payment_method"]
    return {
        "name": customer["name"] or customer["email"] or customer["id"],
        "customer": customer,
        "return_url": session["return_url"],
        "offers": {
            "cancel": features["subscription_cancel"]["enabled"],
            "cards": features["payment_method_update"]["enabled"],
            "details": features["customer_update"]["enabled"],
            "invoices": features["invoice_history"]["enabled"],
        },
        "subscriptions": [_subscription(books, one) for one in running if one["status"] != "canceled"],
        "methods": [
            {
                "id": one["id"],
                "what": f"{one['card']['brand']} …{one['card']['last4']}",
                "is_default": one["id"] == default,
            }
            for one in books.all("payment_method", customer["id"])
        ],
        "tax_ids": [one["value"] for one in books.all("tax_id", customer["id"])],
        "invoices": [
            {
                "number": one["number"] or "Draft",
                "url": one["hosted_invoice_url"],
                "day": items.day(one["created"]),
                "status": one["status"],
                "total": money(one["total"], one["currency"]),
            }
            for one in books.all("invoice", customer["id"])
        ],
        "cards": cards(),
    }


def _subscription(books: Books, one: Json) -> Json:
    data = one["items"]["data"]
    what = ", ".join(f"{items.product_name(books, item['price'])} ({items.at(item['price'])})" for item in data)
    end = items.day(min(item["current_period_end"] for item in data))
    is_ending = one["cancel_at"] is not None
    until = f"ends {items.day(one['cancel_at'])}" if is_ending else f"renews {end}"
    status = STATUS.get(one["status"], one["status"])
    return {"id": one["id"], "what": what, "status": status, "until": until, "is_ending": is_ending}


def _tax(books: Books, tax: Json) -> str:
    """A tax in words, as `VAT 19% (DE)`."""
    rate = books.get("tax_rate", tax["tax_rate_details"]["tax_rate"])
    if tax["taxability_reason"] == "reverse_charge":
        return "Reverse charge: tax to be paid by the recipient"
    percentage = 0 if tax["taxability_reason"] == "customer_exempt" else rate["percentage"]
    return f"{rate['display_name']} {percentage:g}%" + (f" ({rate['country']})" if rate["country"] else "")


def of_invoice(books: Books, invoice: Json) -> Json:
    """An invoice as its customer sees it."""
    currency, address = invoice["currency"], invoice["customer_address"] or {}
    off = sum(one["amount"] for one in invoice["total_discount_amounts"] or [])
    used = invoice["amount_due"] - invoice["total"] + invoice["pre_payment_credit_notes_amount"]
    sums: list[tuple[str, int]] = [("Subtotal", invoice["subtotal"])]
    sums += [("Discount", -off)] if off else []
    sums += [(_tax(books, one), one["amount"]) for one in invoice["total_taxes"] or []]
    sums += [("Total", invoice["total"])]
    sums += [("Credit balance", used)] if used and invoice["total"] > 0 else []
    credited = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    sums += [("Credit notes", -credited)] if credited else []
    sums += [("Due", invoice["amount_due"]), ("Paid", invoice["amount_paid"])]
    rows: list[Any] = invoice["lines"]["data"]
    return {
        "number": invoice["number"] or "draft",
        "status": invoice["status"],
        "day": items.day(invoice["created"]),
        "due": items.day(invoice["due_date"]) if invoice["due_date"] else "",
        "customer": {"name": invoice["customer_name"], "email": invoice["customer_email"]},
        "address": [
            value for value in (address.get(name) for name in ("line1", "postal_code", "city", "country")) if value
        ],
        "tax_ids": [one["value"] for one in invoice["customer_tax_ids"] or []],
        "fields": invoice["custom_fields"] or [],
        "footer": invoice["footer"],
        "rows": [
            {
                "what": row["description"],
                "period": f"{items.day(row['period']['start'])} to {items.day(row['period']['end'])}",
                "amount": money(row["amount"], currency),
            }
            for row in rows
        ],
        "sums": [{"what": what, "amount": money(amount, currency)} for what, amount in sums],
        "is_payable": invoice["status"] == "open",
        "cards": cards(),
    }
