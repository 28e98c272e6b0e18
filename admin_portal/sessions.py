"""Begins and ends staff sessions: a member of staff, a second factor of just now, a reason, half an hour."""

import time
from datetime import timedelta

from allauth.account.authentication import get_authentication_records
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from admin_portal.models import StaffAct, StaffSession
from tenancy.audit.services import Actor, current_context
from tenancy.errors import Invalid
from tenancy.models import User

LASTS = timedelta(minutes=30)
SHORTEST_REASON, LONGEST_REASON = 10, 500
KEY = "staff_session"


def member_of_staff(request: HttpRequest) -> User | None:
    """The signed-in person, if they are of the staff."""
    user = getattr(request, "user", None)
    return user if isinstance(user, User) and user.is_active and user.is_staff else None


def has_second_factor(user: User) -> bool:
    """Whether the person has set one up."""
    return bool(is_mfa_enabled(user))


def has_just_proved_it(request: HttpRequest, user: User) -> bool:
    """Whether the person used their second factor in this browser in the last minutes."""
    since = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    records = get_authentication_records(request, user)
    return any(one.get("method") == "mfa" and one.get("at", 0) >= since for one in records)


def current(request: HttpRequest) -> StaffSession | None:
    """The staff session under way in this browser."""
    user, key = member_of_staff(request), request.session.get(KEY)
    if user is None or key is None or not has_second_factor(user):
        return None
    return StaffSession.objects.filter(pk=key, user=user, ends_at__gt=timezone.now()).first()


def begin(*, request: HttpRequest, user: User, reason: str) -> StaffSession:
    """Begin one, in the place of the one before. Raises Invalid for a reason that says nothing."""
    reason = " ".join(reason.split())
    if not SHORTEST_REASON <= len(reason) <= LONGEST_REASON:
        raise Invalid("reason", f"Say why, in {SHORTEST_REASON} to {LONGEST_REASON} characters: customers read it.")
    end(request=request)
    made = StaffSession.objects.create(
        user=user, reason=reason, ip=current_context().ip, ends_at=timezone.now() + LASTS
    )
    request.session[KEY] = str(made.pk)
    return made


def end(*, request: HttpRequest) -> None:
    """End the one under way, if there is one."""
    if (running := current(request)) is not None:
        running.ends_at = timezone.now()
        running.save(update_fields=["ends_at"])
    request.session.pop(KEY, None)


def note(session: StaffSession, what: str, targets: list[str]) -> None:
    """Write down what was done."""
    StaffAct.objects.create(session=session, what=what, targets=targets)


def actor_of(session: StaffSession) -> Actor:
    """The member of staff, as the audit trail names them."""
    return Actor("staff", str(session.user_id), session.user.email)
