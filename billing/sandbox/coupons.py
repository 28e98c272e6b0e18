"""Coupons, promotion codes, and the discounts that they become."""

from decimal import Decimal

from billing.sandbox import lists
from billing.sandbox.ids import token
from billing.sandbox.periods import months_after
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, take


@answers("POST /v1/coupons")
def create(books: Books, params: Json) -> Json:
    """Add a coupon: a percentage or an amount."""
    if ("percent_off" in params) == ("amount_off" in params):
        raise Refusal("Pass exactly one of percent_off and amount_off.", param="percent_off")
    if "amount_off" in params and "currency" not in params:
        raise Refusal("You must pass currency when passing amount_off.", param="currency", code="parameter_missing")
    if not 0 < params.get("percent_off", 1) <= 100 or params.get("amount_off", 1) < 1:
        raise Refusal("A coupon takes off more than nothing and at most everything.", param="percent_off")
    wanted = params.get("id") or token(8)
    if books.peek(wanted):
        raise Refusal("Coupon already exists.", code="resource_already_exists", param="id")
    duration = params.get("duration", "once")
    if (duration == "repeating") != ("duration_in_months" in params):
        raise Refusal("duration_in_months goes with duration=repeating.", param="duration_in_months")
    made = books.new("coupon", params, id=wanted, duration=duration, times_redeemed=0, valid=True)
    made["created"] = books.now()
    return books.add(made, "coupon.created")


@answers("POST /v1/coupons/{coupon}")
def update(books: Books, params: Json, coupon: str) -> Json:
    """Change a coupon's name or metadata."""
    found = books.get("coupon", coupon)
    take(found, params)
    return books.save(found, "coupon.updated")


@answers("GET /v1/coupons/{coupon}")
def retrieve(books: Books, params: Json, coupon: str) -> Json:
    """One coupon."""
    return books.get("coupon", coupon)


@answers("DELETE /v1/coupons/{coupon}")
def delete(books: Books, params: Json, coupon: str) -> Json:
    """Forget a coupon; discounts made from it go on."""
    found = books.get("coupon", coupon)
    found["valid"] = False
    return books.remove(found, "coupon.deleted")


@answers("GET /v1/coupons")
def list_all(books: Books, params: Json) -> Json:
    """The coupons, newest first."""
    return lists.page(books, "coupon", params, "/v1/coupons")


@answers("POST /v1/promotion_codes")
def create_code(books: Books, params: Json) -> Json:
    """Add a code that customers type."""
    promotion = params.pop("promotion")
    coupon = books.get("coupon", promotion.get("coupon", ""), "promotion[coupon]")
    code = params.get("code") or token(8).upper()
    if any(one["code"].lower() == code.lower() and one["active"] for one in books.all("promotion_code")):
        raise Refusal("An active promotion code with that code already exists.", param="code")
    restrictions = {"first_time_transaction": False, "minimum_amount": None, "minimum_amount_currency": None}
    made = books.new("promotion_code", params, code=code, active=params.get("active", True), times_redeemed=0)
    made["promotion"] = {"type": "coupon", "coupon": coupon["id"]}
    made["restrictions"] = restrictions | params.get("restrictions", {})
    return books.add(made, "promotion_code.created")


@answers("POST /v1/promotion_codes/{promotion_code}")
def update_code(books: Books, params: Json, promotion_code: str) -> Json:
    """Change a code, as to end it."""
    found = books.get("promotion_code", promotion_code)
    take(found, params)
    return books.save(found, "promotion_code.updated")


@answers("GET /v1/promotion_codes/{promotion_code}")
def retrieve_code(books: Books, params: Json, promotion_code: str) -> Json:
    """One code."""
    return books.get("promotion_code", promotion_code)


@answers("GET /v1/promotion_codes")
def list_codes(books: Books, params: Json) -> Json:
    """The codes, newest first; `code` and `coupon` choose."""
    coupon = params.pop("coupon", None)
    where = lambda one: coupon is None or one["promotion"]["coupon"] == coupon  # noqa: E731
    return lists.page(books, "promotion_code", params, "/v1/promotion_codes", where)


def redeem(books: Books, customer: str, given: Json, **owner: str) -> Json:
    """Make a discount of a coupon or a promotion code (or keep a discount that is there already).

    `owner` says what it is on (subscription, invoice, …). Raises Refusal where it cannot be redeemed.
    """
    if "discount" in given:
        return books.get("discount", given["discount"], "discounts")
    code = books.get("promotion_code", given["promotion_code"], "promotion_code") if "promotion_code" in given else None
    coupon = books.get("coupon", code["promotion"]["coupon"] if code else given["coupon"], "coupon")
    now = books.now(customer)
    for limited in [one for one in (coupon, code) if one]:
        _refuse_used_up(limited, now)
    if code and (not code["active"] or (code["customer"] or customer) != customer):
        raise Refusal("This promotion code cannot be redeemed.", code="promotion_code_inactive", param="promotion_code")
    if code and code["restrictions"]["first_time_transaction"] and _has_paid(books, customer):
        raise Refusal("This promotion code is for first-time customers.", param="promotion_code")
    for limited in [one for one in (coupon, code) if one]:
        limited["times_redeemed"] += 1
        books.save(limited, f"{limited['object']}.updated")
    made = books.new("discount", customer=customer, start=now, source={"type": "coupon", "coupon": coupon["id"]})
    made |= {"promotion_code": code["id"] if code else None, "_": {"coupon": coupon}} | owner
    if coupon["duration"] == "repeating":
        made["end"] = months_after(now, coupon["duration_in_months"])
    return books.add(made, "customer.discount.created" if "invoice" not in owner else None)


def _refuse_used_up(limited: Json, now: int) -> None:
    until = limited.get("redeem_by") or limited.get("expires_at")
    used_up = limited["max_redemptions"] is not None and limited["times_redeemed"] >= limited["max_redemptions"]
    if used_up or (until and until < now) or limited.get("valid") is False:
        kind = limited["object"].replace("_", " ")
        raise Refusal(f"This {kind} has expired or was redeemed too often.", code="coupon_expired", param="discounts")


def _has_paid(books: Books, customer: str) -> bool:
    return any(one["amount_paid"] for one in books.all("invoice", customer))


def is_over(discount: Json, now: int) -> bool:
    """Whether the discount takes off nothing any more: a repeating one past its end, a single one that was used."""
    return discount["_"].get("used", False) or (discount["end"] is not None and discount["end"] <= now)


def taken_off(discount: Json, amounts: list[int]) -> list[int]:
    """What the discount takes off each amount; a fixed amount is split by size, to the last cent."""
    coupon = discount["_"]["coupon"]
    total = sum(amounts)
    if coupon["percent_off"] is not None:
        whole = Decimal(total) * Decimal(str(coupon["percent_off"])) / 100
    else:
        whole = Decimal(min(coupon["amount_off"], max(total, 0)))
    return split(int(whole.quantize(Decimal(1))), amounts)


def split(whole: int, amounts: list[int]) -> list[int]:
    """Split a whole number in proportion to the amounts; the parts sum to it exactly."""
    total, done, before, parts = sum(amounts), 0, 0, []
    for amount in amounts:
        before += amount
        upto = int((Decimal(whole) * before / total).quantize(Decimal(1))) if total else 0
        parts.append(upto - done)
        done = upto
    return parts
