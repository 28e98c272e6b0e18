"""Ends sessions when somebody signs out at a SAML identity provider, and tells it when they sign out here."""

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from tenancy.audit import actions
from tenancy.audit.attempts.services import attempt
from tenancy.audit.services import Actor, record
from tenancy.errors import Invalid
from tenancy.scope import scope
from tenancy.services.accounts import person
from tenancy.sso import sessions
from tenancy.sso.models import ExternalIdentity, IdentityProvider, SignIn
from tenancy.sso.providers import services, sign_in
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import logouts, metadata
from tenancy.sso.saml.logouts import Logout


def end(provider: IdentityProvider, asked: Logout, browser: Mapping[str, Any]) -> int:
    """End the sessions that a logout names, once; how many those were. Opens its own scope.

    `browser` is what the session of whoever brought it is known as: nobody brings the logout of somebody else.
    Raises Refused.
    """
    if browser.get("provider") == str(provider.pk) and browser.get("subject") != asked.subject:
        raise Refused("other_subject", f"It names {asked.subject[:200]}.")
    with scope(provider.organization_id):
        known = ExternalIdentity.objects.select_related("user").filter(provider=provider, subject=asked.subject).first()
        if known is None:
            raise Refused("unknown_subject", asked.subject[:200])
        kept = SignIn(
            provider=provider,
            provider_version=provider.version,
            state=SignIn.State.ENDED,
            assertion_id=asked.request_id,
            subject=asked.subject,
            session_index=asked.sessions[0][: logouts.LONGEST_ID] if asked.sessions else "",
            email=known.user.email,
            user=known.user,
            expires_at=asked.expires_at,
        )
        try:
            with transaction.atomic():  # the database decides between two who bring the same logout at once
                kept.save()
        except IntegrityError:
            raise Refused("replayed", asked.request_id) from None
        names = [{"session": one} for one in asked.sessions] or [{}]
        mine = {"subject": asked.subject}
        ended = sum(sessions.end_sessions(provider.pk, known.user, mine | one) for one in names)
        if ended:
            user = known.user
            actor = Actor("user", str(user.pk), user.email)
            record(action=actions.SESSIONS_ENDED, actor=actor, target=person(user), metadata={"sessions": ended})
    return ended


def concerns(asked: Logout, browser: Mapping[str, Any]) -> bool:
    """Whether the session of whoever brought a logout is one that it ends."""
    is_named = not asked.sessions or browser.get("session") in asked.sessions
    return browser.get("subject") == asked.subject and is_named


def refuse(provider: IdentityProvider, refusal: Refused) -> None:
    """Tell the organization that a logout was not believed, and why; opens its own scope."""
    sign_in.note(provider, refusal)
    attempt(
        organization_id=provider.organization_id,
        action=actions.LOGOUT_REFUSED,
        target=services.target(provider),
        metadata={"code": refusal.code},
    )


def ask(provider: IdentityProvider, browser: Mapping[str, Any]) -> tuple[str, str] | None:
    """The id and address of a request to sign out there whoever signs out here, where the provider takes any.

    Raises configuration.ProgramMissing.
    """
    try:
        location = metadata.read(provider.metadata).logout_url
    except Invalid:  # it has ended
        return None
    if not location or not browser.get("subject"):
        return None
    name = {one: browser[one] for one in logouts.QUALIFIERS if one in browser}
    return logouts.ask(provider, location, {**name, "text": browser["subject"]}, browser.get("session", ""))


def answer(provider: IdentityProvider, request_id: str, status: str, relay_state: str) -> str:
    """The address by which the provider gets our answer; '' where it takes none. Raises as `ask`."""
    try:
        location = metadata.read(provider.metadata).logout_answer_url
    except Invalid:  # it has ended
        location = ""
    return logouts.answer(provider, location, request_id, status, relay_state) if location else ""
