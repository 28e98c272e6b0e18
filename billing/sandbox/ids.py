"""Makes ids that look like Stripe's."""

import secrets
import string

PREFIX = {
    "billing_portal.configuration": "bpc",
    "billing_portal.session": "bps",
    "billing.meter": "mtr",
    "billing.meter_event_adjustment": "mtr_adj",
    "charge": "ch",
    "checkout.session": "cs_test",
    "credit_note": "cn",
    "credit_note_line_item": "cnli",
    "customer": "cus",
    "customer_balance_transaction": "cbtxn",
    "discount": "di",
    "dispute": "du",
    "event": "evt",
    "invoice": "in",
    "invoice_payment": "inpay",
    "invoiceitem": "ii",
    "line_item": "il",
    "payment_intent": "pi",
    "payment_method": "pm",
    "price": "price",
    "product": "prod",
    "promotion_code": "promo",
    "refund": "re",
    "setup_intent": "seti",
    "subscription": "sub",
    "subscription_item": "si",
    "subscription_schedule": "sub_sched",
    "tax_id": "txi",
    "tax_rate": "txr",
    "test_helpers.test_clock": "clock",
    "webhook_endpoint": "we",
}
ALPHABET = string.ascii_letters + string.digits


def new_id(kind: str) -> str:
    """An id for an object of the kind, as `cus_1…`."""
    return f"{PREFIX[kind]}_1{token(23)}"


def token(length: int) -> str:
    """Random letters and digits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
