"""Tells a person's organizations what becomes of their account: passwords, addresses, second factors.

allauth says so once it has happened, in no transaction of ours.
"""

from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from django.dispatch import Signal

from tenancy.access import memberships
from tenancy.audit import actions
from tenancy.audit.actions import Action
from tenancy.audit.attempts.services import attempt
from tenancy.models import User
from tenancy.services.accounts import person, tell_organizations

FOLLOWED: dict[Signal, Action] = {
    account.password_set: actions.PASSWORD_CHANGED,
    account.password_changed: actions.PASSWORD_CHANGED,
    account.password_reset: actions.PASSWORD_RESET,
    account.email_changed: actions.EMAIL_CHANGED,
    mfa.authenticator_added: actions.SECOND_FACTOR_ADDED,
    mfa.authenticator_removed: actions.SECOND_FACTOR_REMOVED,
    mfa.authenticator_reset: actions.SECOND_FACTOR_RESET,
}


def follow() -> None:
    """Listen, from when the applications are ready."""
    for signal in FOLLOWED:
        signal.connect(_tell, dispatch_uid="account_events")
    mfa.authentication_failed.connect(_tell_of_failure, dispatch_uid="account_events")


def _tell(*, signal: Signal, user: User, authenticator: Any = None, **said: Any) -> None:
    metadata = {"type": authenticator.type} if authenticator is not None else None
    tell_organizations(user=user, action=FOLLOWED[signal], metadata=metadata)


def _tell_of_failure(*, user: User, **said: Any) -> None:
    """A second factor that is wrong: somebody knows the password."""
    for member in memberships(user):
        attempt(organization_id=member.organization_id, action=actions.SECOND_FACTOR_FAILED, target=person(user))
