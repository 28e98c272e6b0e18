"""The time machine: lets a customer's time pass, one due thing after the other, always in the same order."""

import logging
import time
from datetime import timedelta

from django.db import connection, transaction

from billing.sandbox import (
    checkout,
    cycle,
    disputes,
    invoices,
    keys,
    lists,
    previews,
    schedules,
    standing,
    subscriptions,
)
from billing.sandbox.contract import Broken
from billing.sandbox.models import Object
from billing.sandbox.periods import DAY
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, render

LAST = 4_102_444_800  # 1 Jan 2100
ORDER = (
    "subscription_schedule",
    "subscription",
    "invoice",
    "dispute",
    "checkout.session",
)  # of what is due at the same second


log = logging.getLogger("sandbox")


class Stuck(AssertionError):
    """Something stayed due after it was done: a mistake of ours."""


def advance(customer: str, ahead: timedelta, *, account: str = keys.ACCOUNT) -> int:
    """Let the customer's time pass: reminders, renewals, retries and ends happen in order, with their events.

    Returns the customer's new time in Unix seconds. A customer on a test clock takes its clock's others along.
    Raises Refusal for a customer that is not there.
    """
    with transaction.atomic():
        books = Books(account)
        books.lock()
        found = books.get("customer", customer, "customer")
        target = books.now(customer) + int(ahead.total_seconds())
        if clock := found["test_clock"]:
            _advance_clock(books, books.get("test_helpers.test_clock", clock), target)
            return target
        play(books, [customer], target)
        found["_"]["ahead"] = found["_"].get("ahead", 0) + int(ahead.total_seconds())
        books.save(found)
        return target


def ahead_of(customer: str, *, account: str = keys.ACCOUNT) -> timedelta:
    """How far a customer who lives on no test clock has been moved on. Raises Refusal for one that is not there."""
    return timedelta(seconds=Books(account).get("customer", customer)["_"].get("ahead", 0))


def told_after(customer: str, mark: int, *, account: str = keys.ACCOUNT) -> tuple[list[tuple[str, str]], int]:
    """What events about the customer later than `mark` are about (kind and id), each once, and the mark after them."""
    rows = Object.objects.filter(account=account, customer=customer, kind="event", pk__gt=mark).order_by("pk")
    rows = rows.exclude(body__type="invoice.upcoming")  # of which nothing is kept
    found = list(rows.values_list("body__data__object__object", "body__data__object__id", "pk"))
    return list(dict.fromkeys((kind, told) for kind, told, _ in found)), max([mark, *(pk for *_, pk in found)])


def now_of(customer: str, *, account: str = keys.ACCOUNT) -> int:
    """The customer's own time, in Unix seconds. Raises Refusal for a customer that is not there."""
    return Books(account).now(customer)


def tick() -> None:
    """Do what has become due for customers whose time simply passes; one who is stuck does not hold up the others."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT o.account, o.customer FROM sandbox_object o "
            "JOIN sandbox_object c ON c.account = o.account AND c.stripe_id = o.customer AND c.kind = 'customer' "
            "WHERE o.due_at <= %s + coalesce((c.body #>> '{_,ahead}')::bigint, 0) "
            "AND c.body ->> 'test_clock' IS NULL ORDER BY 1, 2",
            [int(time.time())],
        )
        waiting = cursor.fetchall()
    for account, customer in waiting:
        try:
            with transaction.atomic():
                books = Books(account)
                books.lock()
                play(books, [customer], books.now(customer))
        except (Broken, Refusal, Stuck):
            log.exception("sandbox.stuck account=%s customer=%s", account, customer)


def play(books: Books, customers: list[str], target: int) -> None:
    """Do everything that is due for the customers until the moment `target`, each thing at its own moment."""
    done: tuple[str, int] | None = None
    while found := _next(books, customers, target):
        what, due = found
        if done == (what["id"], due):
            raise Stuck(f"{what['id']} is still due at {due}")
        done = (what["id"], due)
        books.at = max(due, books.at or due)  # what falls due in the past, as a reminder can, happens now
        _act(books, what)
    books.at = None


def _next(books: Books, customers: list[str], target: int) -> tuple[Json, int] | None:
    rows = Object.objects.filter(account=books.account, customer__in=customers, due_at__lte=target)
    first = rows.order_by("due_at").values_list("due_at", flat=True).first()
    if first is None:
        return None
    row = min(rows.filter(due_at=first), key=lambda one: (ORDER.index(one.kind), one.pk))
    return books.get(row.kind, row.stripe_id), first


def _act(books: Books, what: Json) -> None:
    if what["object"] == "subscription":
        _subscription(books, what)
    elif what["object"] == "invoice":
        invoices.advance(books, what)
    elif what["object"] == "subscription_schedule":
        schedules.advance(books, what)
    elif what["object"] == "dispute":
        disputes.decide(books, what, is_won=False)
    else:
        checkout.expire(books, {}, what["id"])


def _subscription(books: Books, found: Json) -> None:
    """The first thing that is due to a subscription: one of its reminders, its end, or its renewal."""
    at, end = books.now(), subscriptions.period_end(found)
    if found["status"] == "incomplete":
        found["status"] = "incomplete_expired"
        found["ended_at"] = at
        books.save(found, "customer.subscription.updated")
        subscriptions.void_first(books, found)
    elif found["cancel_at"] and found["cancel_at"] <= at:
        cycle.last_usage(books, found, at)
        standing.end(books, found, "cancellation_requested", found["cancellation_details"])
    elif (paused := found["pause_collection"]) and paused["resumes_at"] and paused["resumes_at"] <= at:
        found["pause_collection"] = None
        books.save(found, "customer.subscription.updated")
    elif end <= at:
        _end_period(books, found, at)
    else:
        _remind(books, found, at, end)


def _remind(books: Books, found: Json, at: int, end: int) -> None:
    if found["status"] == "trialing" and not found["_"].get("trial_end_told") and at >= found["trial_end"] - 3 * DAY:
        found["_"]["trial_end_told"] = True
        books.tell_of(found, "customer.subscription.trial_will_end")
    else:
        found["_"]["upcoming_told"] = True
        if not (found["cancel_at"] and found["cancel_at"] <= end):
            books.tell("invoice.upcoming", render(previews.upcoming(books, found)))
    books.save(found)


def _end_period(books: Books, found: Json, at: int) -> None:
    is_over = found["status"] == "trialing" and found["trial_end"] <= at
    if not is_over or cycle.leave_trial(books, found):
        cycle.renew(books, found, at)


def _advance_clock(books: Books, clock: Json, target: int) -> None:
    clock["status"] = "advancing"
    clock["status_details"] = {"advancing": {"target_frozen_time": target}}
    books.save(clock)
    books.tell_of(clock, "test_helpers.test_clock.advancing")
    play(books, [one["id"] for one in books.all("customer", test_clock=clock["id"])], target)
    clock |= {"status": "ready", "frozen_time": target, "status_details": {}}
    books.save(clock)
    books.tell_of(clock, "test_helpers.test_clock.ready")


@answers("POST /v1/test_helpers/test_clocks")
def create(books: Books, params: Json) -> Json:
    """Make a clock, on which customers can live."""
    _refuse_far_future(params)
    made = books.new("test_helpers.test_clock", params, status="ready", status_details={})
    made |= {"frozen_time": params["frozen_time"], "deletes_after": made["created"] + 30 * DAY}
    return books.add(made, "test_helpers.test_clock.created")


@answers("POST /v1/test_helpers/test_clocks/{test_clock}/advance")
def advance_clock(books: Books, params: Json, test_clock: str) -> Json:
    """Let the time of everybody on the clock pass. It is done when this is answered."""
    found = books.get("test_helpers.test_clock", test_clock)
    _refuse_far_future(params)
    if params["frozen_time"] <= found["frozen_time"]:
        raise Refusal("A clock only goes forward.", param="frozen_time", code="test_clock_advance_invalid")
    _advance_clock(books, found, params["frozen_time"])
    return found


def _refuse_far_future(params: Json) -> None:
    if not 0 <= params["frozen_time"] < LAST:
        raise Refusal("Invalid timestamp: clocks end in 2100.", param="frozen_time", code="parameter_invalid_integer")


@answers("GET /v1/test_helpers/test_clocks/{test_clock}")
def retrieve(books: Books, params: Json, test_clock: str) -> Json:
    """One clock."""
    return books.get("test_helpers.test_clock", test_clock)


@answers("GET /v1/test_helpers/test_clocks")
def list_all(books: Books, params: Json) -> Json:
    """The clocks, newest first."""
    return lists.page(books, "test_helpers.test_clock", params, "/v1/test_helpers/test_clocks")


@answers("DELETE /v1/test_helpers/test_clocks/{test_clock}")
def delete(books: Books, params: Json, test_clock: str) -> Json:
    """Forget a clock, and everybody who lives on it with all that they have."""
    found = books.get("test_helpers.test_clock", test_clock)
    customers = [one["id"] for one in books.all("customer", test_clock=test_clock)]
    Object.objects.filter(account=books.account, customer__in=customers).exclude(kind="event").delete()
    return books.remove(found, "test_helpers.test_clock.deleted")
