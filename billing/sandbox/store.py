"""The books of one account: reads and writes its objects, and tells of every change by an event."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from billing.sandbox import contract, outbox
from billing.sandbox.ids import new_id
from billing.sandbox.models import Object
from billing.sandbox.refusals import missing
from capsule_cloud.lib import jobs

Json = dict[str, Any]
DUE: dict[str, Callable[[Json], int | None]] = {}  # by kind: when something must happen to an object, in Unix seconds


class _Rehearsed(Exception):
    """Takes back what was only tried."""


class Books:
    """One account's objects during one request, inside its transaction.

    The same object is the same dict for everybody in the request. `at` is the moment being played by the time machine
    (Unix seconds); without it, each customer has a time of its own (`now`).
    """

    def __init__(self, account: str, *, at: int | None = None) -> None:
        self.account, self.at = account, at
        self._objects: dict[str, Json] = {}
        self._rows: dict[str, int] = {}
        self._told: dict[str, Json] = {}  # as the last event, or the database, has it
        self._has_woken = False

    def lock(self) -> None:
        """Let one request at a time change the account."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('billing.sandbox'), hashtext(%s))", [self.account])

    def now(self, customer: str | None = None) -> int:
        """The customer's time (or the account's): its test clock's, or the real one plus what it was advanced."""
        if self.at is not None:
            return self.at
        if customer:
            found = self.get("customer", customer)
            if clock := found.get("test_clock"):
                return int(self.get("test_helpers.test_clock", clock)["frozen_time"])
            return int(time.time()) + int(found["_"].get("ahead", 0))
        return int(time.time())

    def new(self, kind: str, params: Json | None = None, /, **values: Any) -> Json:
        """The smallest object of the kind, with those parameters that it can hold as they are, and the values."""
        found = contract.skeleton(kind)
        if "created" in contract.properties(kind):
            found["created"] = self.now(values.get("customer"))
        if "id" in contract.properties(kind) and "id" not in values:
            found["id"] = new_id(kind)
        found |= {"object": kind, "_": {}}
        take(found, params or {})
        found |= values
        return found

    def add(self, found: Json, event: str | None = None) -> Json:
        """Keep a new object, and tell of it."""
        self._objects[found["id"]] = found
        return self.save(found, event)

    def save(self, found: Json, event: str | None = None) -> Json:
        """Keep the object as it is now, and tell of it by the event where anything changed."""
        shown = render(found)
        contract.check_object(shown)
        customer = (
            found["id"] if found["object"] == "customer" else found.get("customer") or found["_"].get("customer", "")
        )
        due = DUE[found["object"]](found) if found["object"] in DUE else None
        kept = {"kind": found["object"], "customer": customer, "due_at": due, "body": found}
        is_new = found["id"] not in self._rows
        if is_new:
            row = Object.objects.create(account=self.account, stripe_id=found["id"], **kept)
            self._rows[found["id"]] = row.pk
            self._told[found["id"]] = shown
        else:
            Object.objects.filter(pk=self._rows[found["id"]]).update(**kept)
        before, is_update = self._told[found["id"]], bool(event and event.endswith(".updated"))
        if event and not (is_update and before == shown):
            self._told[found["id"]] = shown
            self.tell(event, shown, before if is_update else None)
        return found

    def tell(self, event: str, shown: Json, before: Json | None = None) -> None:
        """Emit the event about the object as it is shown; what owes a webhook wakes the delivery, once a request."""
        told = outbox.emit(self.account, event, shown, before)
        if told["pending_webhooks"] and not self._has_woken:
            self._has_woken = True
            jobs.enqueue("sandbox.deliver_webhooks")

    def tell_of(self, found: Json, event: str) -> None:
        """Emit an event about something that happened to the object without changing it further."""
        self.tell(event, render(found))

    def remove(self, found: Json, event: str | None = None) -> Json:
        """Forget the object, tell of it, and return what Stripe answers."""
        Object.objects.filter(account=self.account, stripe_id=found["id"]).delete()
        self._objects.pop(found["id"], None)
        self._rows.pop(found["id"], None)
        if event:
            self.tell(event, render(found))
        return {"id": found["id"], "object": found["object"], "deleted": True, "_": {}}

    def peek(self, wanted: str) -> Json | None:
        """The object with the id, of whatever kind, or None."""
        if wanted not in self._objects:
            row = Object.objects.filter(account=self.account, stripe_id=wanted).first()
            return self._take_over(row) if row else None
        return self._objects[wanted]

    def get(self, kind: str, wanted: str, param: str = "id") -> Json:
        """The object of the kind. Raises Refusal (404, or 400 where a parameter names it) where there is none."""
        found = self.peek(wanted)
        if found is None or found["object"] != kind:
            raise missing(kind, wanted, param)
        return found

    def all(self, kind: str, customer: str | None = None, **equal: Any) -> list[Json]:
        """Every object of the kind, newest first, whose properties equal the values."""
        rows = Object.objects.filter(account=self.account, kind=kind).order_by("-id")
        if customer is not None:
            rows = rows.filter(customer=customer)
        for name, value in equal.items():
            rows = rows.filter(**{f"body__{name}": value})
        return [self._take_over(row) for row in rows]

    def page(self, rows: Any) -> list[Json]:
        """The objects of a query's rows."""
        return [self._take_over(row) for row in rows]

    def _take_over(self, row: Object) -> Json:
        if row.stripe_id not in self._objects:
            self._objects[row.stripe_id] = row.body
            self._rows[row.stripe_id] = row.pk
            self._told[row.stripe_id] = render(row.body)
        return self._objects[row.stripe_id]

    @contextmanager
    def rehearsal(self) -> Iterator["Books"]:
        """Other books on the same account, in which everything can be tried: it is all taken back at the end."""
        try:
            with transaction.atomic():
                yield Books(self.account, at=self.at)
                raise _Rehearsed
        except _Rehearsed:
            pass


def take(found: Json, params: Json) -> None:
    """Copy into the object the parameters that it has a fitting property for.

    An empty text takes a value away, as in Stripe; metadata is merged.
    """
    for name, value in params.items():
        if name == "metadata":
            found["metadata"] = merged(found.get("metadata") or {}, value)
        elif value == "" and contract.fits(found["object"], name, None):
            found[name] = None
        elif contract.fits(found["object"], name, value):
            found[name] = copy.deepcopy(value)


def merged(old: Json, new: Any) -> Json:
    """Metadata after an update: empty texts take keys away, an empty text for all takes everything."""
    if new == "":
        return {}
    return {key: value for key, value in (old | new).items() if value != ""}


def render(found: Any) -> Any:
    """The object as it is shown: a copy without what only the simulator knows."""
    if isinstance(found, dict):
        return {key: render(value) for key, value in found.items() if key != "_"}
    if isinstance(found, list):
        return [render(value) for value in found]
    return found


def listing(data: list[Json], url: str, *, has_more: bool = False) -> Json:
    """Stripe's list object."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}
