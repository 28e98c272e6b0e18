"""Writes the domains of an organization: added, proved by DNS, lost, taken by another, removed."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.services import organizations
from tenancy.sso import admins
from tenancy.sso.domains import evidence, names, selectors
from tenancy.sso.domains.evidence import Evidence
from tenancy.sso.models import VerifiedDomain

MOST_DOMAINS = 50
FIRST_LOOK = timedelta(minutes=1)  # a look before the record is made teaches name servers that there is none
WAIT = timedelta(seconds=10)  # between two looks that people ask for
# Pending for less than this: the next look after that. Whoever is older has to ask.
PACE = (
    (timedelta(hours=1), timedelta(minutes=1)),
    (timedelta(days=1), timedelta(minutes=10)),
    (timedelta(days=7), timedelta(hours=1)),
    (timedelta(days=30), timedelta(days=1)),
)
DAILY, SOON, AGAIN = timedelta(days=1), timedelta(hours=6), timedelta(hours=1)  # found; missing; no answer
LOST_AFTER = timedelta(days=2)  # of looks that found nothing, the first and the last included
YIELDS_AFTER = timedelta(days=14)  # a lost domain can be another organization's from then on
State = VerifiedDomain.State


class TooSoon(Conflict):
    """It was looked up a moment ago; a retry helps after `retry_after` seconds."""

    code = "rate_limited"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"We looked a moment ago: try again in {retry_after} seconds.")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Turn:
    """A look that counts, until another one is begun."""

    domain_id: UUID
    organization_id: UUID
    turn: UUID
    domain: str
    token: str


def target(domain: VerifiedDomain) -> Target:
    """A domain as an audit target."""
    return Target("domain", str(domain.pk), domain.domain)


def add(*, actor: Actor, domain: str) -> VerifiedDomain:
    """A domain that waits for its record. Raises Invalid, LimitReached or Conflict."""
    name = names.clean(domain)
    organizations.locked()
    if VerifiedDomain.objects.count() >= MOST_DOMAINS:
        raise LimitReached(f"There are {MOST_DOMAINS} domains: remove one first.")
    if VerifiedDomain.objects.filter(domain=name).exists():
        raise Conflict(f"{names.shown(name)} is in the list already.")
    added = VerifiedDomain.objects.create(domain=name, token=secrets.token_hex(20), due_at=timezone.now() + FIRST_LOOK)
    record(action=actions.DOMAIN_ADDED, actor=actor, target=target(added))
    return added


def remove(*, actor: Actor, domain_id: UUID) -> None:
    """Give a domain up; whoever proves it next has it. Raises NotFound, or Conflict where it would lock people out."""
    organization = organizations.locked()
    domain = _locked(domain_id)
    if domain.is_held and organization.is_sso_required and not selectors.held().exclude(pk=domain_id).exists():
        raise Conflict(
            "Single sign-on is required and rests on this domain alone: verify another, or end the requirement first."
        )
    gone, changes = target(domain), actions.DOMAIN_REMOVED.changed({"state": domain.state}, {})
    domain.delete()
    record(action=actions.DOMAIN_REMOVED, actor=actor, target=gone, changes=changes)


def check(*, actor: Actor, organization_id: UUID, domain_id: UUID) -> VerifiedDomain:
    """Look now, and return the domain as it stands then.

    It opens its own scopes: no transaction may be open. Raises NotFound, or TooSoon.
    """
    with scope(organization_id):
        domain = _locked(domain_id)
        now = timezone.now()
        if domain.turn_at and (left := domain.turn_at + WAIT - now) > timedelta(0):
            raise TooSoon(int(left.total_seconds()) + 1)
        domain.turn, domain.turn_at, domain.due_at = uuid4(), now, now + AGAIN
        domain.save(update_fields=["turn", "turn_at", "due_at"])
        turn = Turn(domain.pk, organization_id, domain.turn, domain.domain, domain.token)
    settle(turn, evidence.look(turn.domain, turn.token), actor=actor)
    with scope(organization_id):
        return selectors.domain(domain_id)


def settle(turn: Turn, found: Evidence, *, actor: Actor = SYSTEM) -> None:
    """Write down what a look found, unless a later look has begun; opens its own scopes.

    A record that is found makes the domain this organization's, unless it is another's.
    """
    if found.found:
        _make_way(turn)
    with scope(turn.organization_id):
        mine = VerifiedDomain.objects.select_for_update(no_key=True).filter(pk=turn.domain_id, turn=turn.turn)
        domain = mine.first()
        if domain is None:
            return
        now = timezone.now()
        domain.last_checked_at, domain.last_code = now, found.code
        domain.last_result, domain.last_seen = found.sentence, list(found.seen)
        if found.found:
            _prove(domain, actor, now)
        elif found.found is False and domain.is_held:
            _miss(domain, now)
        domain.due_at = _next_look(domain, found, now)
        domain.save()


def give_way(*, domain_id: UUID) -> bool:
    """Take a domain from the organization in scope for another that has proved it now; whether that was allowed.

    It is where its record has been lost for long, or its organization is closed.
    """
    domain = VerifiedDomain.objects.select_for_update(no_key=True).filter(pk=domain_id).first()
    if domain is None or not _yields(domain):
        return False
    domain.last_code, domain.last_result = "held", "Another organization has proved that the domain is its own."
    _release(domain, SYSTEM)
    return True


def withdraw(*, actor: Actor, domain_id: UUID, reason: str) -> VerifiedDomain:
    """Take a domain from an organization that cannot prove it any more, for staff. Raises NotFound, Invalid, Conflict.

    Its record, where it still stands, proves the domain again when somebody asks, unless another was faster.
    """
    reason = reason.strip()
    if not reason:
        raise Invalid("reason", "Say why: the organization reads it.")
    domain = _locked(domain_id)
    if not domain.is_held:
        raise Conflict(f"{domain.domain} is not verified.")
    domain.last_code, domain.last_result = "withdrawn", f"We have taken back that the domain is yours: {reason}"[:600]
    _release(domain, actor, reason)
    return domain


def _locked(domain_id: UUID) -> VerifiedDomain:
    domain = VerifiedDomain.objects.select_for_update(no_key=True).filter(pk=domain_id).first()
    if domain is None:
        raise NotFound("There is no such domain.")
    return domain


def _make_way(turn: Turn) -> None:
    """Have whoever holds the domain give way, where that is due."""
    holder = selectors.holder(turn.domain)
    if holder is not None and holder.organization_id != turn.organization_id:
        with scope(holder.organization_id):
            give_way(domain_id=holder.domain_id)


def _release(domain: VerifiedDomain, actor: Actor, reason: str = "") -> None:
    _move(domain, State.PENDING, actions.DOMAIN_RELEASED, actor, reason)
    domain.verified_at = domain.lost_at = domain.missing_since = domain.due_at = None
    domain.last_seen = []
    domain.save()
    _tell(domain, "released", "A domain is no longer verified for your organization")


def _yields(domain: VerifiedDomain) -> bool:
    is_long_lost = domain.lost_at is not None and domain.lost_at <= timezone.now() - YIELDS_AFTER
    return domain.is_held and (is_long_lost or Organization.objects.get().closed_at is not None)


def _prove(domain: VerifiedDomain, actor: Actor, now: datetime) -> None:
    domain.missing_since = domain.lost_at = None
    if domain.state == State.VERIFIED:
        return
    try:
        with transaction.atomic():  # the database decides between two who prove it at once
            VerifiedDomain.objects.filter(pk=domain.pk).update(state=State.VERIFIED)
    except IntegrityError:
        domain.last_code = "held"
        domain.last_result = f"The record is right, but another organization has verified {domain.domain}."
        return
    domain.verified_at = now
    _move(domain, State.VERIFIED, actions.DOMAIN_VERIFIED, actor)


def _miss(domain: VerifiedDomain, now: datetime) -> None:
    domain.missing_since = domain.missing_since or now
    if domain.state == State.VERIFIED and domain.missing_since <= now - LOST_AFTER:
        domain.lost_at = now
        _move(domain, State.LOST, actions.DOMAIN_LOST, SYSTEM, domain.last_result)
        _tell(domain, "lost", "The record of a domain of yours is gone")


def _next_look(domain: VerifiedDomain, found: Evidence, now: datetime) -> datetime | None:
    if domain.is_held:
        if found.found is None:
            return now + AGAIN
        return now + (SOON if domain.state == State.VERIFIED and domain.missing_since else DAILY)
    age = now - domain.created_at
    return next((now + pause for until, pause in PACE if age < until), None)


def _move(domain: VerifiedDomain, state: str, action: actions.Action, actor: Actor, reason: str = "") -> None:
    changes: dict[str, Any] = action.change(domain, {"state": state})
    record(action=action, actor=actor, target=target(domain), changes=changes, reason=reason)


def _tell(domain: VerifiedDomain, template: str, subject: str) -> None:
    context = {"domain": domain, "record": names.record_of(domain.domain), "shown": names.shown(domain.domain)}
    context |= {"value": names.VALUE + domain.token, "days": YIELDS_AFTER.days}
    admins.tell(subject, template, f"domains/{domain.pk}", **context)
