"""Payment methods: test cards, attached to customers."""

from billing.sandbox import cards, lists
from billing.sandbox.ids import token
from billing.sandbox.refusals import Json, Refusal, missing
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, take

CHECKS = {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}


def make(books: Books, card: cards.Card, billing: Json | None = None) -> Json:
    """A payment method with the card, attached to nobody."""
    details: Json = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None} | (billing or {})
    if details["address"]:
        details["address"] = (
            dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")) | details["address"]
        )
    made = books.new("payment_method", type="card", billing_details=details, allow_redisplay="unspecified")
    made["card"] = {
        "brand": card.brand,
        "checks": CHECKS,
        "country": "US",
        "display_brand": card.brand,
        "exp_month": 12,
        "exp_year": 2040,
        "fingerprint": token(16),
        "funding": "credit",
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }
    made["_"]["number"] = card.number
    return books.add(made)


def card_of(method: Json) -> cards.Card:
    """The test card behind a payment method."""
    return cards.numbered(method["_"]["number"])


def authenticate(method: Json) -> None:
    """Note that the customer has answered its bank: good for one payment."""
    method["_"]["is_authenticated"] = True


def use_authentication(books: Books, method: Json) -> bool:
    """Whether the customer has answered its bank for this payment; the answer is spent."""
    if not method["_"].pop("is_authenticated", False):
        return False
    books.save(method)
    return True


def find(books: Books, wanted: str) -> Json:
    """The payment method with the id; `pm_card_…` makes a new one each time. Raises Refusal."""
    if wanted.startswith("pm_card_"):
        return make(books, cards.named(wanted))
    found = books.peek(wanted)
    if found is None or found["object"] != "payment_method":
        raise missing("PaymentMethod", wanted)
    return found


@answers("POST /v1/payment_methods")
def create(books: Books, params: Json) -> Json:
    """Make a payment method of a test card's number or token."""
    if params.get("type", "card") != "card" or "card" not in params:
        raise Refusal("The sandbox takes cards alone.", param="type")
    given = params["card"]
    card = cards.named(given["token"]) if "token" in given else cards.numbered(given["number"])
    made = make(books, card, params.get("billing_details"))
    take(made, {"metadata": params.get("metadata", {})})
    return books.save(made)


@answers("POST /v1/payment_methods/{payment_method}/attach")
def attach(books: Books, params: Json, payment_method: str) -> Json:
    """Give the customer the payment method. Raises Refusal (402) for a card whose bank refuses."""
    books.get("customer", params["customer"], "customer")
    found = find(books, payment_method)
    if refused := card_of(found).attach:
        raise cards.refusal(refused, keeps=False)
    if found["customer"] not in {None, params["customer"]}:
        raise Refusal("The payment method you provided has already been attached to a customer.")
    found["customer"] = params["customer"]
    return books.save(found, "payment_method.attached")


@answers("POST /v1/payment_methods/{payment_method}/detach")
def detach(books: Books, params: Json, payment_method: str) -> Json:
    """Take the payment method from its customer, who no longer pays with it."""
    found = find(books, payment_method)
    if found["customer"] is None:
        raise Refusal("The payment method you provided is not attached to a customer so detachment is impossible.")
    customer = books.get("customer", found["customer"])
    if customer["invoice_settings"]["default_payment_method"] == found["id"]:
        customer["invoice_settings"]["default_payment_method"] = None
        books.save(customer, "customer.updated")
    for subscription in books.all("subscription", customer["id"], default_payment_method=found["id"]):
        subscription["default_payment_method"] = None
        books.save(subscription, "customer.subscription.updated")
    found["customer"] = None
    return books.save(found, "payment_method.detached")


@answers("POST /v1/payment_methods/{payment_method}")
def update(books: Books, params: Json, payment_method: str) -> Json:
    """Change the metadata or the billing details."""
    found = find(books, payment_method)
    take(found, {name: value for name, value in params.items() if name != "card"})
    return books.save(found, "payment_method.updated")


@answers("GET /v1/payment_methods/{payment_method}")
def retrieve(books: Books, params: Json, payment_method: str) -> Json:
    """One payment method."""
    return find(books, payment_method)


@answers("GET /v1/payment_methods")
def list_all(books: Books, params: Json) -> Json:
    """A customer's payment methods, newest first."""
    return lists.page(books, "payment_method", params, "/v1/payment_methods")


@answers("GET /v1/customers/{customer}/payment_methods")
def list_of_customer(books: Books, params: Json, customer: str) -> Json:
    """A customer's payment methods, newest first."""
    books.get("customer", customer)
    url = f"/v1/customers/{customer}/payment_methods"
    return lists.page(books, "payment_method", params | {"customer": customer}, url)


def of_customer(books: Books, customer: Json, *chosen: str | None) -> Json | None:
    """What the customer pays with: the first of the chosen ones, else its default."""
    for wanted in (*chosen, customer["invoice_settings"]["default_payment_method"]):
        found = books.peek(wanted) if wanted else None
        if found and found["customer"] == customer["id"]:
            return found
    return None
