"""Takes money that does not move: payment intents, charges and what the card's bank says."""

from billing.sandbox import cards, disputes, methods
from billing.sandbox.accounts import pages_url
from billing.sandbox.ids import token
from billing.sandbox.refusals import Json, Refusal, declined
from billing.sandbox.store import Books

OUTCOME = {
    "advice_code": None,
    "network_advice_code": None,
    "network_decline_code": None,
    "network_status": "approved_by_network",
    "reason": None,
    "risk_level": "normal",
    "seller_message": "Payment complete.",
    "type": "authorized",
}


def new_intent(books: Books, *, customer: str | None, amount: int, currency: str, **more: object) -> Json:
    """A payment intent that waits for a payment method."""
    intent = books.new("payment_intent", amount=amount, currency=currency, customer=customer)
    if customer:
        intent["created"] = books.now(customer)
    intent |= {"status": "requires_payment_method", "amount_received": 0, "amount_capturable": 0, "metadata": {}}
    intent |= {
        "payment_method_types": ["card"],
        "capture_method": "automatic_async",
        "confirmation_method": "automatic",
    }
    intent |= {"client_secret": f"{intent['id']}_secret_{token(24)}", "amount_details": {"tip": {}}} | more
    return books.add(intent, "payment_intent.created")


def confirm(
    books: Books, intent: Json, method: Json, *, off_session: bool = False, is_authenticated: bool = False
) -> Refusal | None:
    """Try to take the payment; the bank's no is returned, and kept in the intent. A card may ask for authentication."""
    card = methods.card_of(method)
    intent["payment_method"] = method["id"]
    if reason := card.attach or card.charge:
        return _refused(books, intent, method, cards.refusal(reason))
    is_authenticated = methods.use_authentication(books, method) or is_authenticated
    if card.needs_authentication and not is_authenticated:
        if off_session:
            message = cards.MESSAGES["authentication_required"]
            return _refused(
                books, intent, method, declined(message, "authentication_required", "authentication_required")
            )
        url = f"{pages_url()}/authenticate/{intent['id']}"
        intent["status"] = "requires_action"
        intent["next_action"] = {"type": "redirect_to_url", "redirect_to_url": {"url": url, "return_url": None}}
        books.save(intent, "payment_intent.requires_action")
        return None
    is_held = intent["capture_method"] == "manual"
    charge = _charge(books, intent, method, "succeeded", paid=True, captured=not is_held)
    charge["amount_captured"] = 0 if is_held else intent["amount"]
    books.add(charge, "charge.succeeded")
    intent |= {"latest_charge": charge["id"], "next_action": None, "last_payment_error": None}
    if is_held:
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
        books.save(intent, "payment_intent.amount_capturable_updated")
    else:
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
        books.save(intent, "payment_intent.succeeded")
        if card.is_disputed:
            disputes.open_for(books, charge)
    return None


def _refused(books: Books, intent: Json, method: Json, refusal: Refusal) -> Refusal:
    """Keep the refused charge and the bank's reason in the intent."""
    charge = _charge(books, intent, method, "failed", paid=False, captured=False)
    charge |= {"failure_code": refusal.error["code"], "failure_message": refusal.error["message"]}
    charge["outcome"] = OUTCOME | {
        "network_status": "declined_by_network",
        "reason": refusal.error.get("decline_code"),
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }
    books.add(charge, "charge.failed")
    refusal.error |= {"charge": charge["id"], "payment_method": _shown(method)}
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    intent |= {"latest_charge": charge["id"], "last_payment_error": dict(refusal.error)}
    books.save(intent, "payment_intent.payment_failed")
    return refusal


def _shown(method: Json) -> Json:
    return {name: value for name, value in method.items() if name != "_"}


def _charge(books: Books, intent: Json, method: Json, status: str, **more: object) -> Json:
    charge = books.new("charge", amount=intent["amount"], currency=intent["currency"], status=status)
    charge |= {"created": books.now(intent["customer"]), "customer": intent["customer"], "livemode": False}
    charge |= {"payment_intent": intent["id"], "payment_method": method["id"], "outcome": OUTCOME}
    charge |= {"billing_details": method["billing_details"], "amount_refunded": 0, "refunded": False, "disputed": False}
    details = method["card"]
    charge["payment_method_details"] = {
        "type": "card",
        "card": {
            name: details[name]
            for name in ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
        }
        | {
            "checks": details["checks"],
            "amount_authorized": intent["amount"],
            "installments": None,
            "mandate": None,
            "network": details["brand"],
            "three_d_secure": None,
            "wallet": None,
            "authorization_code": None,
        },
    }
    charge["metadata"] = dict(intent["metadata"])
    return charge | more


def cancel(books: Books, intent: Json, reason: str) -> None:
    """End an intent that took nothing."""
    if intent["status"] not in {"succeeded", "canceled"}:
        intent |= {"status": "canceled", "canceled_at": books.now(intent["customer"]), "cancellation_reason": reason}
        intent["next_action"] = None
        books.save(intent, "payment_intent.canceled")
