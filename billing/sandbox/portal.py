"""The customer portal: its configurations, and sessions whose page shows cards, invoices and the plan."""

from billing.sandbox import accounts, contract, lists
from billing.sandbox.refusals import Json
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, take

FEATURES: Json = {
    "customer_update": {"allowed_updates": ["email", "name", "address", "tax_id"], "enabled": True},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": False, "options": ["other"]},
        "enabled": True,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "continue_trial",
    },
}


@answers("POST /v1/billing_portal/configurations")
def create_configuration(books: Books, params: Json) -> Json:
    """Say what the portal offers."""
    made = books.new("billing_portal.configuration", active=True, features=_features(FEATURES, params["features"]))
    made |= {"is_default": False, "updated": made["created"], "metadata": params.get("metadata") or {}}
    made["business_profile"] = contract.skeleton("billing_portal.configuration")["business_profile"] | (
        params.get("business_profile") or {}
    )
    made["login_page"] = {"enabled": False, "url": None}
    take(made, {name: params[name] for name in ("default_return_url", "name") if name in params})
    return books.add(made, "billing_portal.configuration.created")


def _features(old: Json, given: Json) -> Json:
    """What the portal offers, with the parts that are given changed."""
    found = dict(old)
    for name, part in given.items():
        found[name] = _features(old[name], part) if isinstance(part, dict) and isinstance(old.get(name), dict) else part
    return found


def _default(books: Books) -> Json:
    for found in books.all("billing_portal.configuration", is_default=True):
        return found
    made = create_configuration(books, {"features": {}})
    made["is_default"] = True
    return books.save(made)


@answers("POST /v1/billing_portal/configurations/{configuration}")
def update_configuration(books: Books, params: Json, configuration: str) -> Json:
    """Change what the portal offers."""
    found = books.get("billing_portal.configuration", configuration)
    found["features"] = _features(found["features"], params.pop("features", {}))
    found["updated"] = books.now()
    take(found, params)
    return books.save(found, "billing_portal.configuration.updated")


@answers("GET /v1/billing_portal/configurations/{configuration}")
def retrieve_configuration(books: Books, params: Json, configuration: str) -> Json:
    """One configuration."""
    return books.get("billing_portal.configuration", configuration)


@answers("GET /v1/billing_portal/configurations")
def list_configurations(books: Books, params: Json) -> Json:
    """The configurations, newest first."""
    return lists.page(books, "billing_portal.configuration", params, "/v1/billing_portal/configurations")


@answers("POST /v1/billing_portal/sessions")
def create_session(books: Books, params: Json) -> Json:
    """Open the portal for a customer; the page's address is in `url`."""
    books.get("customer", params["customer"], "customer")
    wanted = params.get("configuration")
    offered = books.get("billing_portal.configuration", wanted, "configuration") if wanted else _default(books)
    made = books.new("billing_portal.session", customer=params["customer"], configuration=offered["id"])
    made["created"] = books.now()  # a page is open for an hour of real time, whatever the customer's clock says
    made |= {"return_url": params.get("return_url") or offered["default_return_url"]}
    made["url"] = f"{accounts.pages_url()}/portal/{made['id']}"
    return books.add(made, "billing_portal.session.created")
