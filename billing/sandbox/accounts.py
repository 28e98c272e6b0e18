"""The account itself, its webhook endpoints, and what its owner chose in the dashboard."""

from django.conf import settings

from billing.sandbox import contract, lists
from billing.sandbox.ids import token
from billing.sandbox.refusals import Json
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, take

NAME = "Sandbox billing"
COUNTRY = "US"
CANCEL, UNPAID, PAST_DUE = "cancel", "unpaid", "past_due"


def own(books: Books) -> Json:
    """The account of the books; made when it is first asked for."""
    if found := books.peek(books.account):
        return found
    made = books.new(
        "account",
        id=books.account,
        country=COUNTRY,
        default_currency="usd",
        type="standard",
        charges_enabled=True,
        payouts_enabled=True,
        details_submitted=True,
        settings=contract.skeleton("account")["settings"],
    )
    return books.add(made)


def after_retries(books: Books) -> str:
    """What becomes of a subscription when the last retry fails: `cancel`, `unpaid`, or it stays `past_due`.

    Unless somebody chose, the last: we ask the same of Stripe, since billing/services/dunning.py says when to end.
    """
    return str(own(books)["_"].get("unpaid_becomes", PAST_DUE))


def choose_after_retries(books: Books, outcome: str) -> None:
    """Set what becomes of a subscription when the last retry fails, as in Stripe's dashboard."""
    own(books)["_"]["unpaid_becomes"] = outcome
    books.save(own(books))


@answers("GET /v1/account")
def retrieve(books: Books, params: Json) -> Json:
    """The account of the key."""
    return own(books)


@answers("POST /v1/webhook_endpoints")
def create_endpoint(books: Books, params: Json) -> Json:
    """Add an endpoint; its signing secret is in this answer alone."""
    secret = f"whsec_{token(32)}"
    made = books.new("webhook_endpoint", params, status="enabled", api_version=contract.version())
    made["_"]["secret"] = secret
    return books.add(made) | {"secret": secret}


@answers("GET /v1/webhook_endpoints")
def list_endpoints(books: Books, params: Json) -> Json:
    """The endpoints, newest first."""
    return lists.page(books, "webhook_endpoint", params, "/v1/webhook_endpoints")


@answers("POST /v1/webhook_endpoints/{webhook_endpoint}")
def update_endpoint(books: Books, params: Json, webhook_endpoint: str) -> Json:
    """Change an endpoint, or disable it."""
    found = books.get("webhook_endpoint", webhook_endpoint)
    take(found, params)
    if "disabled" in params:
        found["status"] = "disabled" if params["disabled"] else "enabled"
    return books.save(found)


@answers("DELETE /v1/webhook_endpoints/{webhook_endpoint}")
def delete_endpoint(books: Books, params: Json, webhook_endpoint: str) -> Json:
    """Take an endpoint away."""
    return books.remove(books.get("webhook_endpoint", webhook_endpoint))


def pages_url() -> str:
    """Where the hosted pages of the sandbox are."""
    return f"{settings.PUBLIC_URL}/sandbox"
