"""Reads the events of every change, as the daily check for missed webhooks does."""

from billing.sandbox import lists
from billing.sandbox.refusals import Json
from billing.sandbox.routing import answers
from billing.sandbox.store import Books


@answers("GET /v1/events/{id}")
def retrieve(books: Books, params: Json, id: str) -> Json:  # noqa: A002  # the contract's own name
    """One event."""
    return books.get("event", id)


@answers("GET /v1/events")
def list_all(books: Books, params: Json) -> Json:
    """The events, newest first; `type` and `types` choose, a trailing `*` stands for any rest."""
    params.pop("delivery_success", None)
    names = params.pop("types", None) or ([params.pop("type")] if "type" in params else None)
    return lists.page(books, "event", params, "/v1/events", lambda one: names is None or _is_one(one["type"], names))


def _is_one(name: str, wanted: list[str]) -> bool:
    return any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in wanted)
