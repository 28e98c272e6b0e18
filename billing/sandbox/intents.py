"""Payment intents, setup intents and charges, as the API has them."""

from billing.sandbox import accounts, cards, invoice_api, invoices, lists, methods, payments
from billing.sandbox.expansion import on_request
from billing.sandbox.ids import token
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, listing, take

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
TAKEN = ("description", "metadata", "receipt_email", "setup_future_usage", "statement_descriptor", "capture_method")


@answers("POST /v1/payment_intents")
def create(books: Books, params: Json) -> Json:
    """Ask for an amount. Raises Refusal (402) where it is confirmed at once and the bank says no."""
    if params["amount"] < 1:
        raise Refusal("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    customer = params.get("customer")
    if customer:
        books.get("customer", customer, "customer")
    made = payments.new_intent(books, customer=customer, amount=params["amount"], currency=params["currency"])
    take(made, {name: params[name] for name in TAKEN if name in params})
    if automatic := params.get("automatic_payment_methods"):
        made["automatic_payment_methods"] = {"allow_redirects": "always"} | automatic
    if method := _method(books, params):
        made |= {"payment_method": method["id"], "status": "requires_confirmation"}
    books.save(made)
    return _confirm(books, made, params) if params.get("confirm") else made


def _method(books: Books, params: Json) -> Json | None:
    if described := params.get("payment_method_data"):
        return methods.create(books, {"type": "card", "card": {"token": "tok_visa"}} | described)
    return methods.find(books, params["payment_method"]) if params.get("payment_method") else None


def _confirm(books: Books, intent: Json, params: Json, *, is_authenticated: bool = False) -> Json:
    """Take the payment; an invoice that it is for follows. Raises Refusal (402) for the bank's no, and keeps it."""
    method = _method(books, params) or methods.find(books, intent["payment_method"] or "")
    off_session = bool(params.get("off_session", False))
    refusal = payments.confirm(books, intent, method, off_session=off_session, is_authenticated=is_authenticated)
    if refusal:
        raise refusal
    invoice = invoice_api.invoice_of(books, intent["id"])
    if invoice and invoice["status"] == "open" and intent["status"] == "succeeded":
        invoices.mark_paid(books, invoice)
    return intent


@answers("POST /v1/payment_intents/{intent}/confirm")
def confirm(books: Books, params: Json, intent: str) -> Json:
    """Take the payment with the method given, or with the intent's own."""
    found = books.get("payment_intent", intent)
    if found["status"] not in CONFIRMABLE:
        message = f"This PaymentIntent's status is {found['status']} and it cannot be confirmed."
        raise Refusal(message, code="payment_intent_unexpected_state")
    return _confirm(books, found, params)


def authenticate(books: Books, intent: str, *, is_successful: bool) -> Json:
    """The customer's answer to its bank, from the sandbox's page."""
    found = books.peek(intent)
    if found is None or found["status"] != "requires_action":
        raise Refusal("Nothing waits for authentication.", code="payment_intent_unexpected_state")
    if found["object"] == "setup_intent":
        return _authenticate_setup(books, found, is_successful=is_successful)
    if is_successful:
        return _confirm(books, found, {}, is_authenticated=True)
    message = "We are unable to authenticate your payment method."
    found |= {"status": "requires_payment_method", "next_action": None, "payment_method": None}
    found["last_payment_error"] = {
        "code": "payment_intent_authentication_failure",
        "message": message,
        "type": "card_error",
    }
    return books.save(found, "payment_intent.payment_failed")


def _authenticate_setup(books: Books, found: Json, *, is_successful: bool) -> Json:
    if is_successful:
        methods.authenticate(methods.find(books, found["payment_method"]))
        return confirm_setup(books, {}, found["id"])
    message = "We are unable to authenticate your payment method."
    found |= {"status": "requires_payment_method", "next_action": None, "payment_method": None}
    error = {"code": "setup_intent_authentication_failure", "message": message, "type": "invalid_request_error"}
    found["last_setup_error"] = error
    return books.save(found, "setup_intent.setup_failed")


@answers("POST /v1/payment_intents/{intent}")
def update(books: Books, params: Json, intent: str) -> Json:
    """Change an intent that has taken nothing."""
    found = books.get("payment_intent", intent)
    take(found, {name: params[name] for name in (*TAKEN, "amount", "currency") if name in params})
    if method := _method(books, params):
        found |= {"payment_method": method["id"], "status": "requires_confirmation"}
    return books.save(found)


@answers("POST /v1/payment_intents/{intent}/capture")
def capture(books: Books, params: Json, intent: str) -> Json:
    """Take what was held."""
    found = books.get("payment_intent", intent)
    if found["status"] != "requires_capture":
        raise Refusal("This PaymentIntent holds nothing to capture.", code="payment_intent_unexpected_state")
    amount = params.get("amount_to_capture", found["amount"])
    charge = books.get("charge", found["latest_charge"])
    charge |= {"captured": True, "amount_captured": amount}
    books.save(charge, "charge.captured")
    found |= {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}
    return books.save(found, "payment_intent.succeeded")


@answers("POST /v1/payment_intents/{intent}/cancel")
def cancel(books: Books, params: Json, intent: str) -> Json:
    """End an intent that took nothing."""
    found = books.get("payment_intent", intent)
    if found["status"] in {"succeeded", "canceled"}:
        message = f"You cannot cancel this PaymentIntent because it has a status of {found['status']}."
        raise Refusal(message, code="payment_intent_unexpected_state")
    payments.cancel(books, found, params.get("cancellation_reason", "requested_by_customer"))
    return found


@answers("GET /v1/payment_intents/{intent}")
def retrieve(books: Books, params: Json, intent: str) -> Json:
    """One intent."""
    params.pop("client_secret", None)
    return books.get("payment_intent", intent)


@answers("GET /v1/payment_intents")
def list_all(books: Books, params: Json) -> Json:
    """The intents, newest first."""
    return lists.page(books, "payment_intent", params, "/v1/payment_intents")


@answers("GET /v1/charges/{charge}")
def retrieve_charge(books: Books, params: Json, charge: str) -> Json:
    """One charge."""
    return books.get("charge", charge)


@answers("GET /v1/charges")
def list_charges(books: Books, params: Json) -> Json:
    """The charges, newest first."""
    return lists.page(books, "charge", params, "/v1/charges")


@on_request("charge", "refunds")
def refunds(books: Books, charge: Json) -> Json:
    """A charge's refunds are shown on request alone."""
    return listing(books.all("refund", charge=charge["id"]), f"/v1/charges/{charge['id']}/refunds")


@answers("POST /v1/setup_intents")
def create_setup(books: Books, params: Json) -> Json:
    """Ask for a payment method without money."""
    made = books.new("setup_intent", usage=params.get("usage", "off_session"), customer=params.get("customer"))
    made |= {"payment_method_types": ["card"], "status": "requires_payment_method"}
    made |= {"client_secret": f"{made['id']}_secret_{token(24)}", "metadata": params.get("metadata") or {}}
    take(made, {"description": params["description"]} if "description" in params else {})
    if method := _method(books, params):
        made |= {"payment_method": method["id"], "status": "requires_confirmation"}
    books.add(made, "setup_intent.created")
    return confirm_setup(books, params, made["id"]) if params.get("confirm") else made


@answers("POST /v1/setup_intents/{intent}/confirm")
def confirm_setup(books: Books, params: Json, intent: str) -> Json:
    """Set the method up, and attach it to the customer. Raises Refusal (402) for the bank's no."""
    found = books.get("setup_intent", intent)
    if found["status"] not in CONFIRMABLE:
        raise Refusal(f"This SetupIntent's status is {found['status']}.", code="setup_intent_unexpected_state")
    method = _method(books, params) or methods.find(books, found["payment_method"] or "")
    card = methods.card_of(method)
    if card.attach:
        refusal = cards.refusal(card.attach)
        found |= {"status": "requires_payment_method", "payment_method": None}
        found["last_setup_error"] = {name: refusal.error[name] for name in ("code", "message", "type")}
        books.save(found, "setup_intent.setup_failed")
        raise refusal
    found["payment_method"] = method["id"]
    if card.needs_authentication and not methods.use_authentication(books, method):
        url = f"{accounts.pages_url()}/authenticate/{found['id']}"
        found["status"] = "requires_action"
        found["next_action"] = {"type": "redirect_to_url", "redirect_to_url": {"url": url, "return_url": None}}
        return books.save(found, "setup_intent.requires_action")
    if found["customer"] and method["customer"] is None:
        methods.attach(books, {"customer": found["customer"]}, method["id"])
    found |= {"status": "succeeded", "next_action": None, "last_setup_error": None}
    return books.save(found, "setup_intent.succeeded")


@answers("POST /v1/setup_intents/{intent}/cancel")
def cancel_setup(books: Books, params: Json, intent: str) -> Json:
    """End a setup that is not done."""
    found = books.get("setup_intent", intent)
    if found["status"] in {"succeeded", "canceled"}:
        raise Refusal(f"This SetupIntent's status is {found['status']}.", code="setup_intent_unexpected_state")
    found |= {"status": "canceled", "cancellation_reason": params.get("cancellation_reason"), "next_action": None}
    return books.save(found, "setup_intent.canceled")


@answers("GET /v1/setup_intents/{intent}")
def retrieve_setup(books: Books, params: Json, intent: str) -> Json:
    """One setup intent."""
    params.pop("client_secret", None)
    return books.get("setup_intent", intent)


@answers("GET /v1/setup_intents")
def list_setups(books: Books, params: Json) -> Json:
    """The setup intents, newest first."""
    return lists.page(books, "setup_intent", params, "/v1/setup_intents")
