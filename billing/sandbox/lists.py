"""Answers Stripe's lists: newest first, pages by `starting_after`, filters by equality and by time."""

from collections.abc import Callable
from typing import Any

from billing.sandbox.models import Object
from billing.sandbox.refusals import Json, missing
from billing.sandbox.store import Books, listing

PAGING = {"limit", "starting_after", "ending_before", "created"}
BOUNDS: dict[str, Callable[[int, int], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


def page(books: Books, kind: str, params: Json, url: str, where: Callable[[Json], bool] = lambda found: True) -> Json:
    """One page of the kind's objects that equal the other parameters and pass `where`."""
    rows = Object.objects.filter(account=books.account, kind=kind).order_by("-id")
    if customer := params.get("customer"):
        rows = rows.filter(customer=customer)
    for name, value in params.items():
        if name not in PAGING:
            rows = rows.filter(**{f"body__{name}": value})
    found = [one for one in books.page(rows) if where(one) and _in_time(one, params.get("created"))]
    return paged(found, params, url)


def paged(found: list[Json], params: Json, url: str) -> Json:
    """A page of what was found, which is in order. Raises Refusal for a cursor that is not among it."""
    limit, ids = params.get("limit", 10), [one["id"] for one in found]
    if before := params.get("ending_before"):
        end = _place(ids, before, "ending_before")
        start = max(0, end - limit)
        return listing(found[start:end], url, has_more=start > 0)
    start = _place(ids, params["starting_after"], "starting_after") + 1 if "starting_after" in params else 0
    return listing(found[start : start + limit], url, has_more=len(found) > start + limit)


def _place(ids: list[str], wanted: str, param: str) -> int:
    if wanted not in ids:
        raise missing("object", wanted, param)
    return ids.index(wanted)


def _in_time(found: Json, created: Any) -> bool:
    return created is None or in_range(found["created"], created)


def in_range(value: int | None, wanted: Any) -> bool:
    """Whether a moment is the wanted one, or within the bounds (`{"gte": …}`)."""
    bounds = wanted if isinstance(wanted, dict) else {"gte": wanted, "lte": wanted}
    return value is not None and all(BOUNDS[name](value, bound) for name, bound in bounds.items())
