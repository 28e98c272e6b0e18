"""Keeps the seats that are paid for in step with the people: more at once on one line a period, fewer at renewal.

Nothing here may be called inside a scope: Stripe is asked in between, and never in an open transaction.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.core import signing

from billing.models import BillingAccount, EntitlementOverride, SeatPolicy, Status, Subscription
from billing.money import prorate, round_line
from billing.overrides import PRICE_KEYS
from billing.plans import Allowance, Interval
from billing.selectors.agreements import usage_period
from billing.services.accounts import customer_of, locked_account
from billing.services.changes import claim_revision, granted, live_subscription, refuse_scheduled
from billing.services.prices import check_seats, items_for
from billing.services.projection import item_of, target_of
from billing.stripe_client import Item, Json, StripeRefused, StripeUnavailable, client
from billing.stripe_events import apply, now
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.selectors import first_id
from tenancy.audit.services import SYSTEM, Actor, record
from tenancy.clock import here
from tenancy.errors import Conflict, Invalid
from tenancy.models import Membership, Organization
from tenancy.scope import scope, unscoped

GOOD_FOR = 900  # seconds that a preview can be confirmed
SALT = "billing.seats"
ADDED, GONE = actions.MEMBER_ADDED.name, (actions.MEMBER_REMOVED.name, actions.MEMBER_LEFT.name)
log = logging.getLogger("billing")


@dataclass(frozen=True, slots=True)
class SeatPreview:
    """What paying for `seats` people costs, in minor units of `currency` without tax.

    `added` of them are not paid for yet: the period's one line of seats grows by `charge` to `line`, on the next
    invoice. From `until` on seats cost `monthly` a month. With another policy than `named` nobody buys seats: they
    follow the members by themselves, and this is what they come to then. `token` confirms it within 15 minutes.
    """

    seats: int
    added: int
    charge: int
    line: int
    monthly: int
    currency: str
    until: datetime
    policy: str
    token: str


def preview_seats(*, organization_id: UUID, seats: int | None = None) -> SeatPreview:
    """What `set_seats` would cost now, None: for one more than is paid for. A trial adds people for nothing.

    Raises Conflict where there is no subscription, or one with a change scheduled; StripeUnavailable, StripeRefused.
    """
    row = live_subscription(organization_id)
    refuse_scheduled(row)
    moment = datetime.fromtimestamp(client().time_of(customer_of(organization_id)), UTC)
    with scope(organization_id):
        policy = BillingAccount.objects.values_list("seat_policy", flat=True).get()
    included = row.plan.allowances[Allowance.SEATS].quantity
    seats = max(row.seats + 1 if seats is None else seats, included)
    added, charge = _addition(row, seats, moment)
    return SeatPreview(
        seats=seats,
        added=added,
        charge=charge,
        line=row.seat_line_amount + charge,
        monthly=(seats - included) * granted(organization_id, row.plan).seat,
        currency=row.plan.currency,
        until=usage_period(row, moment)[1],
        policy=policy,
        token=signing.dumps([str(organization_id), seats, charge, int(moment.timestamp())], salt=SALT),
    )


def _addition(row: Subscription, seats: int, moment: datetime) -> tuple[int, int]:
    """How many of the seats are not paid for in this period yet, and what they cost for the rest of it."""
    added = 0 if row.status == Status.TRIALING else max(0, seats - max(row.paid_seats, row.seats))
    start, end = usage_period(row, moment)
    part = min(max(end - moment, timedelta(0)), end - start)
    seat = granted(row.organization_id, row.plan).seat
    return added, round_line(prorate(seat * added, part, end - start))[0]


def set_previewed_seats(*, organization_id: UUID, actor: Actor, token: str) -> None:
    """Pay for as many people as a preview said, and exactly what it said.

    The same token again does nothing more. Raises Invalid for a token that is broken or 15 minutes old; Conflict where
    the seats have been changed since; else as `set_seats`.
    """
    seats, charge, moment = _read(token, organization_id)
    row = live_subscription(organization_id)
    if _addition(row, seats, moment)[1] != charge and row.seats != seats:
        raise Conflict("The price has changed meanwhile: look at the new preview.")
    set_seats(organization_id=organization_id, actor=actor, seats=seats, at=moment)


def _read(token: str, organization_id: UUID) -> tuple[int, int, datetime]:
    try:
        organization, seats, charge, at = signing.loads(token, salt=SALT, max_age=GOOD_FOR)
    except signing.SignatureExpired:
        raise Invalid("token", "The preview is older than 15 minutes: look at a new one.") from None
    except signing.BadSignature:
        raise Invalid("token", "This is no preview of ours.") from None
    if organization != str(organization_id):
        raise Invalid("token", "This is no preview of ours.")
    return seats, charge, datetime.fromtimestamp(at, UTC)


def set_seats(*, organization_id: UUID, actor: Actor, seats: int, at: datetime | None = None) -> None:
    """Pay for so many people. More are charged for the rest of the period from `at` on (now), on one line of the next
    invoice that all additions of the period share; fewer cost less from the next period on.

    Raises Invalid for fewer than there are members, Conflict, StripeUnavailable or StripeRefused.
    """
    check_seats(seats)
    row = live_subscription(organization_id)
    with scope(organization_id):
        members = Membership.objects.count()
    if seats < members:
        raise Invalid("seats", f"There are {members} members: remove some first.")
    _change(organization_id, actor, row, seats, at)


def _change(organization_id: UUID, actor: Actor, row: Subscription, seats: int, moment: datetime | None = None) -> None:
    seats = max(seats, row.plan.allowances[Allowance.SEATS].quantity)
    if seats == row.seats:
        return
    refuse_scheduled(row)
    revision = claim_revision(organization_id, row)
    customer = customer_of(organization_id)
    moment = moment or datetime.fromtimestamp(client().time_of(customer), UTC)
    added, charge = _addition(row, seats, moment)
    line, amount = row.seat_line_id, row.seat_line_amount + charge
    if added:
        line = _charge(row, customer, added, amount, moment)
    at = now()
    found = client().change_subscription(
        str(row.stripe_id), _seat_items(row, seats), at=None, behavior="none", key=f"seats:{row.pk}:{revision}"
    )
    apply("subscription", found, at)
    with scope(organization_id):
        Subscription.objects.filter(pk=row.pk).update(
            paid_seats=max(row.paid_seats, row.seats, seats), seat_line_id=line, seat_line_amount=amount
        )
        changes = actions.BILLING_SEATS_CHANGED.changed({"seats": row.seats}, {"seats": seats})
        record(action=actions.BILLING_SEATS_CHANGED, actor=actor, target=target_of(row), changes=changes)


def _charge(row: Subscription, customer: str, added: int, amount: int, moment: datetime) -> str:
    """Make the period's line come to `amount` minor units, and return its id.

    The line is made empty and then set to the whole amount, so that neither step done twice charges twice.
    """
    line = row.seat_line_id
    if not line:
        form = {
            "customer": customer,
            "subscription": row.stripe_id,
            "currency": row.plan.currency,
            "amount": 0,
            "description": "Seats added",
        }
        key = f"seat-line:{row.pk}:{row.period_start.timestamp():.0f}:{row.change_token[:8]}"
        line = str(client().set_invoice_item(form, key=key)["id"])
    total = max(row.paid_seats, row.seats) + added
    text = f"Seats added until {usage_period(row, moment)[1]:%Y-%m-%d}: now {total}"
    client().set_invoice_item({"amount": amount, "description": text}, item=line, key="")
    return line


def _seat_items(row: Subscription, seats: int) -> list[Item]:
    items: list[Json] = client().retrieve("subscription", str(row.stripe_id))["items"]["data"]
    known = {item["id"] for item in items}
    wanted = items_for(granted(row.organization_id, row.plan), Interval(row.interval), seats, existing=items)
    seat = item_of(items, "seat")
    return [item for item in wanted if (seat and item.id == seat["id"]) or item.id not in known]


def sync(*, organization_id: UUID) -> None:
    """Bring prices to what was granted and seats to what the organization's policy counts.

    Named seats are what the customer bought; but whoever came while another policy let them in is paid for, too. Raises
    Conflict, StripeUnavailable or StripeRefused.
    """
    _sync_prices(organization_id)
    row = live_subscription(organization_id)
    with scope(organization_id):
        wanted = _wanted(row, locked_account())
    _change(organization_id, SYSTEM, row, wanted)


def _wanted(row: Subscription, account: BillingAccount) -> int:
    since = usage_period(row, here())[0]
    if account.seat_policy == SeatPolicy.USED:
        return Membership.objects.filter(user__last_login__gte=since).count()
    if account.seat_policy == SeatPolicy.NAMED:
        members = Membership.objects.count()
        return max(row.seats, members) if members > Organization.objects.get().member_limit else row.seats
    most = max(account.seat_high_water, _most_members(since))
    if most > account.seat_high_water:
        account.seat_high_water = most
        account.save(update_fields=["seat_high_water"])
    return most


def _most_members(since: datetime) -> int:
    """The most members at once since then, also between two looks: the trail says who came and went, newest first."""
    most = count = Membership.objects.count()
    moves = AuditEvent.objects.filter(action__in=[ADDED, *GONE], id__gte=first_id(since))
    for action in moves.order_by("-id").values_list("action", flat=True):
        count += -1 if action == ADDED else 1
        most = max(most, count)
    return most


def _sync_prices(organization_id: UUID) -> None:
    """Let the next invoice have the prices that were granted, or again the catalogue's; nothing is charged for now."""
    with scope(organization_id):
        has_any = EntitlementOverride.objects.filter(key__in=PRICE_KEYS, holds_from__isnull=False).exists()
    if not has_any:
        return
    row = live_subscription(organization_id)
    items: list[Json] = client().retrieve("subscription", str(row.stripe_id))["items"]["data"]
    mine = granted(organization_id, row.plan)
    wanted = items_for(mine, Interval(row.interval), row.seats, existing=items)
    there = {item["id"]: item["price"]["id"] for item in items}
    if all(there.get(item.id) == item.price for item in wanted):
        return
    refuse_scheduled(row)
    revision = claim_revision(organization_id, row)
    key, at = f"prices:{row.pk}:{revision}", now()
    found = client().change_subscription(str(row.stripe_id), wanted, at=None, behavior="none", key=key)
    apply("subscription", found, at)
    with scope(organization_id):
        metadata = {"monthly": mine.monthly, "yearly": mine.yearly, "seat": mine.seat}
        record(action=actions.BILLING_PRICES_CHANGED, actor=SYSTEM, target=target_of(row), metadata=metadata)


def sync_all() -> int:
    """Bring every organization's seats and prices into step; how many were looked at. One that fails is logged."""
    with unscoped(reason="find organizations whose seats Stripe bills") as wide:
        found = [row["organization_id"] for row in wide.rows("billing_run_by_stripe")]
    for organization_id in found:
        try:
            sync(organization_id=organization_id)
        except (Conflict, StripeUnavailable, StripeRefused) as error:
            log.warning("billing.seats_not_in_step organization=%s reason=%s", organization_id, error)
    return len(found)
