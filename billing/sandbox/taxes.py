"""Taxes as Stripe Tax computes them, by the customer's country or as a reverse charge; or by rates that were given."""

from decimal import ROUND_HALF_UP, Decimal

from billing.sandbox import accounts, lists
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, take

BY_RATE = {
    "17": "LU",
    "18": "MT",
    "19": "CY DE",
    "20": "AT BG FR",
    "21": "BE CZ ES LT LV NL RO",
    "22": "IT SI",
    "23": "IE PL PT SK",
    "24": "EE GR",
    "25": "DK HR SE",
    "25.5": "FI",
    "27": "HU",
}
EU = {country: rate for rate, countries in BY_RATE.items() for country in countries.split()}
COLLECTED = {**EU, "CH": "8.1", "GB": "20", "NO": "25"}  # elsewhere the account collects nothing
REVERSED = {"CH": "ch_uid", "GB": "gb_vat", "NO": "no_vat", **dict.fromkeys(EU, "eu_vat")}  # a business owes it itself
NO_LOCATION = (
    "The customer's location isn't recognized. Set a valid customer address in order to automatically calculate tax."
)


def settle(books: Books, invoice: Json) -> None:
    """Put the taxes onto a draft's lines and sums, which are there without them."""
    automatic = invoice["automatic_tax"]
    if automatic["enabled"]:
        country = _country(books, invoice["customer"])
        automatic["status"] = "complete" if country else "requires_location_inputs"
        rates = _of_country(books, invoice["customer"], country) if country else []
    else:
        rates = [(books.get("tax_rate", one), "standard_rated") for one in _ids(invoice["default_tax_rates"])]
    for row in invoice["lines"]["data"]:
        row["taxes"] = [_tax(row, rate, reason) for rate, reason in rates]
    _sum_up(invoice)


def _ids(rates: list[Json]) -> list[str]:
    return [one["id"] for one in rates]


def _tax(row: Json, rate: Json, reason: str) -> Json:
    net = Decimal(row["amount"] - sum(one["amount"] for one in row["discount_amounts"]))
    share = Decimal(str(rate["percentage"])) / 100 if reason == "standard_rated" else Decimal(0)
    taxable = net / (1 + share) if rate["inclusive"] else net
    amount = (taxable * share).quantize(Decimal(1), ROUND_HALF_UP)
    return {
        "amount": int(amount),
        "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
        "tax_rate_details": {"tax_rate": rate["id"]},
        "taxability_reason": reason,
        "taxable_amount": int(net - amount if rate["inclusive"] else net),
        "type": "tax_rate_details",
    }


def _sum_up(invoice: Json) -> None:
    sums: dict[tuple[str, str], Json] = {}
    for tax in (one for row in invoice["lines"]["data"] for one in row["taxes"]):
        key = (tax["tax_rate_details"]["tax_rate"], tax["taxability_reason"])
        if known := sums.get(key):
            known["amount"] += tax["amount"]
            known["taxable_amount"] += tax["taxable_amount"]
        else:
            sums[key] = dict(tax)
    added = sum(one["amount"] for one in sums.values() if one["tax_behavior"] == "exclusive")
    within = sum(one["amount"] for one in sums.values() if one["tax_behavior"] == "inclusive")
    invoice["total_taxes"] = list(sums.values())
    invoice["total_excluding_tax"] = invoice["total"] - within
    invoice["subtotal_excluding_tax"] = invoice["subtotal"] - within
    invoice["total"] += added


def switched(enabled: bool) -> Json:
    """Automatic taxes as an invoice has them."""
    liability = {"type": "self"} if enabled else None
    provider = "stripe" if enabled else None
    return {"disabled_reason": None, "enabled": enabled, "liability": liability, "provider": provider, "status": None}


def of_subscription(books: Books, customer: str, params: Json) -> Json:
    """What the parameters say of a subscription's taxes. Raises Refusal where nobody knows the customer's country."""
    found: Json = {}
    if "automatic_tax" in params:
        is_on = params["automatic_tax"]["enabled"]
        if is_on:
            refuse_unknown(books, customer)
        liability = {"type": "self"} if is_on else None
        found["automatic_tax"] = {"disabled_reason": None, "enabled": is_on, "liability": liability}
    if "default_tax_rates" in params:
        found["default_tax_rates"] = [books.get("tax_rate", one) for one in params["default_tax_rates"] or []]
    return found


def refuse_unknown(books: Books, customer: str) -> None:
    """Raise Refusal where the customer has no address with a country."""
    if _country(books, customer) is None:
        raise Refusal(NO_LOCATION, code="customer_tax_location_invalid", param="automatic_tax")


def give_up_unknown(invoice: Json) -> None:
    """An invoice of somebody whose country got lost is closed without taxes, and says so."""
    if invoice["automatic_tax"]["status"] == "requires_location_inputs":
        reason = "finalization_requires_location_inputs"
        invoice["automatic_tax"] = switched(False) | {"disabled_reason": reason}


def _country(books: Books, customer: str) -> str | None:
    found = (books.get("customer", customer)["address"] or {}).get("country")
    return str(found).upper() if found else None


def _of_country(books: Books, customer: str, country: str) -> list[tuple[Json, str]]:
    if country not in COLLECTED:
        return []
    rate = _rate(books, country)
    exempt = books.get("customer", customer)["tax_exempt"]
    is_business = any(one["type"] == REVERSED[country] for one in books.all("tax_id", customer))
    if exempt == "exempt":
        return [(rate, "customer_exempt")]
    if exempt == "reverse" or (is_business and country != accounts.COUNTRY):
        return [(rate, "reverse_charge")]
    return [(rate, "standard_rated")]


def _rate(books: Books, country: str) -> Json:
    """The rate of a country, as Stripe makes it by itself when it first needs it."""
    for known in books.all("tax_rate", country=country):
        if known["_"].get("is_automatic"):
            return known
    made = books.new("tax_rate", country=country, jurisdiction=country, jurisdiction_level="country", active=False)
    percentage = float(COLLECTED[country])
    made |= {"display_name": "VAT", "percentage": percentage, "effective_percentage": percentage, "inclusive": False}
    made |= {"rate_type": "percentage", "tax_type": "vat", "livemode": False, "metadata": {}}
    made["_"]["is_automatic"] = True
    return books.add(made)


@answers("POST /v1/tax_rates")
def create(books: Books, params: Json) -> Json:
    """A rate by hand; its percentage never changes."""
    made = books.new("tax_rate", params, active=params.get("active", True), rate_type="percentage")
    made |= {"effective_percentage": params["percentage"], "metadata": params.get("metadata") or {}}
    return books.add(made, "tax_rate.created")


@answers("POST /v1/tax_rates/{tax_rate}")
def update(books: Books, params: Json, tax_rate: str) -> Json:
    """Change a rate's words, or take it out of use."""
    found = books.get("tax_rate", tax_rate)
    take(found, params)
    return books.save(found, "tax_rate.updated")


@answers("GET /v1/tax_rates/{tax_rate}")
def retrieve(books: Books, params: Json, tax_rate: str) -> Json:
    """One rate."""
    return books.get("tax_rate", tax_rate)


@answers("GET /v1/tax_rates")
def list_all(books: Books, params: Json) -> Json:
    """The rates, newest first."""
    return lists.page(books, "tax_rate", params, "/v1/tax_rates")
