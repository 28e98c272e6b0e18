"""Products and prices: licensed, tiered, or metered by a meter."""

from decimal import ROUND_HALF_UP, Decimal

from billing.sandbox import lists
from billing.sandbox.expansion import on_request
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, take


def cents(amount: Decimal) -> int:
    """An amount rounded to whole minor units, halves away from zero."""
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))


def amount_of(price: Json, quantity: Decimal) -> Decimal:
    """What the quantity costs, in minor units, not yet rounded."""
    if divided := price.get("transform_quantity"):
        whole, rest = divmod(quantity, divided["divide_by"])
        quantity = whole + (1 if rest and divided["round"] == "up" else 0)
    if price["billing_scheme"] == "per_unit":
        return Decimal(price["unit_amount_decimal"]) * quantity
    return _tiered(price["_"]["tiers"], price["tiers_mode"], quantity)


def _tiered(tiers: list[Json], mode: str, quantity: Decimal) -> Decimal:
    total, below = Decimal(0), Decimal(0)
    for tier in tiers:
        until = Decimal(tier["up_to"]) if tier["up_to"] is not None else None
        unit, flat = Decimal(tier["unit_amount_decimal"] or 0), Decimal(tier["flat_amount_decimal"] or 0)
        is_last = until is None or quantity <= until
        if mode == "volume" and is_last:
            return unit * quantity + flat
        if mode == "graduated" and (quantity > below or below == 0):
            reached = quantity if until is None else min(quantity, until)
            total += unit * (reached - below) + flat
        if is_last:
            break
        below = until or below
    return total


def is_metered(price: Json) -> bool:
    """Whether the price is for usage, billed when the period is over."""
    return bool(price["recurring"]) and price["recurring"]["usage_type"] == "metered"


@answers("POST /v1/products")
def create_product(books: Books, params: Json) -> Json:
    """Add a product, with its default price where one is described."""
    wanted = params.get("id")
    if wanted and books.peek(wanted):
        raise Refusal("Product already exists.", code="resource_already_exists", param="id")
    made = books.new("product", params, active=params.get("active", True))
    made |= {"updated": made["created"], "default_price": None}
    books.add(made, "product.created")
    if described := params.get("default_price_data"):
        price = create_price(books, described | {"product": made["id"]})
        made["default_price"] = price["id"]
        books.save(made, "product.updated")
    return made


@answers("POST /v1/products/{id}")
def update_product(books: Books, params: Json, id: str) -> Json:  # noqa: A002  # the contract's own name
    """Change a product."""
    found = books.get("product", id)
    take(found, params)
    found["updated"] = books.now()
    return books.save(found, "product.updated")


@answers("GET /v1/products/{id}")
def retrieve_product(books: Books, params: Json, id: str) -> Json:  # noqa: A002
    """One product."""
    return books.get("product", id)


@answers("DELETE /v1/products/{id}")
def delete_product(books: Books, params: Json, id: str) -> Json:  # noqa: A002
    """Forget a product that has no prices."""
    found = books.get("product", id)
    if books.all("price", product=id):
        raise Refusal("This product cannot be deleted because it has one or more user-created prices.")
    return books.remove(found, "product.deleted")


@answers("GET /v1/products")
def list_products(books: Books, params: Json) -> Json:
    """The products, newest first; `ids` chooses."""
    ids = params.pop("ids", None)
    return lists.page(books, "product", params, "/v1/products", lambda one: ids is None or one["id"] in ids)


@answers("POST /v1/prices")
def create_price(books: Books, params: Json) -> Json:
    """Add a price. Raises Refusal where it is not one, or where its lookup key is another's."""
    product = params.get("product")
    if described := params.get("product_data"):
        product = create_product(books, described)["id"]
    if product is None:
        raise Refusal("Missing required param: product.", code="parameter_missing", param="product")
    books.get("product", product, "product")
    made = books.new("price", {key: value for key, value in params.items() if key not in {"recurring", "tiers"}})
    made |= {"product": product, "active": params.get("active", True), "type": "one_time"}
    made["billing_scheme"] = params.get("billing_scheme", "per_unit")
    made["tax_behavior"] = params.get("tax_behavior", "unspecified")
    _set_amount(made, params)
    if recurring := params.get("recurring"):
        made |= {"type": "recurring", "recurring": _recurring(books, recurring)}
    _take_lookup_key(books, made, is_moved=params.get("transfer_lookup_key", False))
    return books.add(made, "price.created")


def _set_amount(made: Json, params: Json) -> None:
    if made["billing_scheme"] == "tiered":
        if not params.get("tiers") or "tiers_mode" not in params:
            raise Refusal("You must pass `tiers` and `tiers_mode` with billing_scheme=tiered.", param="tiers")
        made["_"]["tiers"] = [_tier(tier) for tier in params["tiers"]]
        made |= {"unit_amount": None, "unit_amount_decimal": None}
        return
    whole, exact = params.get("unit_amount"), params.get("unit_amount_decimal")
    if (whole is None) == (exact is None):
        raise Refusal("Pass exactly one of unit_amount and unit_amount_decimal.", param="unit_amount")
    amount = Decimal(str(exact if whole is None else whole))
    if amount < 0:
        raise Refusal("Invalid non-negative integer", param="unit_amount", code="parameter_invalid_integer")
    made["unit_amount_decimal"] = f"{amount.normalize():f}"
    made["unit_amount"] = int(amount) if amount == int(amount) else None


def _tier(tier: Json) -> Json:
    found: Json = {"up_to": None if tier["up_to"] == "inf" else tier["up_to"]}
    for name in ("unit_amount", "flat_amount"):
        exact = tier.get(f"{name}_decimal", tier.get(name))
        amount = None if exact is None else Decimal(exact)
        found[f"{name}_decimal"] = None if amount is None else f"{amount.normalize():f}"
        found[name] = int(amount) if amount is not None and amount == int(amount) else None
    return found


def _recurring(books: Books, given: Json) -> Json:
    found: Json = {"interval_count": 1, "usage_type": "licensed", "meter": None, "trial_period_days": None} | given
    if found["usage_type"] == "metered":
        if not found["meter"]:
            raise Refusal("Metered prices must be backed by meters.", param="recurring[meter]")
        books.get("billing.meter", found["meter"], "recurring[meter]")
    return found


def _take_lookup_key(books: Books, price: Json, *, is_moved: bool) -> None:
    if not price["lookup_key"]:
        return
    for other in books.all("price", lookup_key=price["lookup_key"]):
        if other["id"] == price["id"]:
            continue
        if not is_moved:
            message = f"A price (`{other['id']}`) already uses that lookup key."
            raise Refusal(message, param="lookup_key", code="resource_already_exists")
        other["lookup_key"] = None
        books.save(other, "price.updated")


@answers("POST /v1/prices/{price}")
def update_price(books: Books, params: Json, price: str) -> Json:
    """Change what may change of a price: never its amount."""
    found = books.get("price", price)
    take(found, params)
    _take_lookup_key(books, found, is_moved=params.get("transfer_lookup_key", False))
    return books.save(found, "price.updated")


@answers("GET /v1/prices/{price}")
def retrieve_price(books: Books, params: Json, price: str) -> Json:
    """One price."""
    return books.get("price", price)


@answers("GET /v1/prices")
def list_prices(books: Books, params: Json) -> Json:
    """The prices, newest first; `lookup_keys` and `recurring` choose."""
    wanted, recurring = params.pop("lookup_keys", None), params.pop("recurring", {})

    def fits(one: Json) -> bool:
        has_key = wanted is None or one["lookup_key"] in wanted
        return has_key and recurring.items() <= (one["recurring"] or {}).items()

    return lists.page(books, "price", params, "/v1/prices", fits)


@on_request("price", "tiers")
def tiers(books: Books, price: Json) -> list[Json]:
    """A price's tiers are shown on request alone."""
    found: list[Json] = books.get("price", price["id"])["_"].get("tiers", [])
    return found
