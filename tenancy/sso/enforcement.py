"""Has an organization's people sign in as it wants: by its identity provider, again after a while, with two factors.

What is required holds for the organization's pages, whatever other organizations of a person allow. API keys go on.
Owners keep a way in when the identity provider is broken.
"""

from datetime import timedelta

from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from tenancy.access import MemberPrincipal, lacks_required_mfa, memberships
from tenancy.audit import actions
from tenancy.audit.services import Actor, record
from tenancy.errors import Conflict
from tenancy.models import Membership, Organization, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import organizations
from tenancy.sso.domains.selectors import held
from tenancy.sso.models import IdentityProvider
from tenancy.sso.sessions import age, has_second_factor, login_address, provider_of

FRESH = timedelta(hours=1)  # that old may the test be of who wants it required
_NOTED = "sso_broken_in"


class NobodyCouldComeIn(Conflict):
    """What is asked for would lock people out; `str()` says what to do first."""


def require(*, actor: Actor, is_required: bool) -> Organization:
    """Require single sign-on of the organization in scope, or no longer.

    Raises NobodyCouldComeIn without a provider in use that was tested within FRESH, a domain for whose addresses it may
    speak, or an owner with a second factor.
    """
    organization = organizations.locked()
    if is_required and not organization.is_sso_required:
        since = timezone.now() - FRESH
        if not IdentityProvider.objects.filter(state=IdentityProvider.State.ACTIVE, tested_at__gt=since).exists():
            raise NobodyCouldComeIn("Test a provider that is in use first: within the last hour, as it is now.")
        if not held().exists():
            raise NobodyCouldComeIn("Verify a domain first: a provider can speak only for addresses in your domains.")
        owners = Membership.objects.filter(role=Role.OWNER, user__is_active=True).select_related("user")
        if not any(is_mfa_enabled(one.user) for one in owners):
            raise NobodyCouldComeIn(
                "Set up a second factor for an owner first: it is the way in should the identity provider fail."
            )
    action = actions.SSO_REQUIREMENT_CHANGED
    if changes := action.change(organization, {"is_sso_required": is_required}):
        organization.save(update_fields=["is_sso_required"])
        record(action=action, actor=actor, target=organizations.target(organization), changes=changes)
    return organization


def way_in(request: HttpRequest, user: User, member: MemberPrincipal) -> str | None:
    """Where somebody must sign in before they see the organization's pages; None where they may.

    Owners with a second factor may come in without single sign-on: each session that does is recorded. Whoever signed
    in longer ago than the organization allows is signed out. Opens its own scope.
    """
    onward = request.get_full_path() if request.method == "GET" else reverse("home", kwargs={"slug": member.slug})
    if member.is_sso_required and provider_of(request) is None and not _passes_by(request, user, member):
        with scope(member.organization_id):
            provider = IdentityProvider.objects.filter(state=IdentityProvider.State.ACTIVE).order_by("id").first()
        if provider is None:  # the last one went away by other ways than ours
            return reverse("account_logout")
        return login_address(provider.pk, onward, ask="1")
    if member.session_hours and age(request) >= member.session_hours * 3600:
        return sign_out(request, onward, f"{member.name} has everybody sign in again after {_hours(member)}.")
    return None


def sign_out(request: HttpRequest, onward: str, why: str) -> str:
    """End a session that is too old; where the person signs in again, to come back to a path of ours."""
    provider_id = provider_of(request)
    logout(request)
    messages.info(request, why)
    if provider_id is None:
        return f"{reverse('account_login')}?{urlencode({'next': onward})}"
    is_plain = request.method == "GET" and not any(name in request.headers for name in ("HX-Request", "X-Dialog"))
    return login_address(provider_id, onward, **({} if is_plain else {"ask": "1"}))


def lacks_second_factor(request: HttpRequest, user: User, member: MemberPrincipal) -> bool:
    """Whether the organization demands a second factor, and neither the person nor a provider that counts has one."""
    return lacks_required_mfa(user, member) and not has_second_factor(request)


def may_enrol(user: User, member: MemberPrincipal) -> bool:
    """Whether a session that an identity provider opened may set up a second factor for the account.

    It may where the account is at home in the provider's organization alone. Else whoever runs the provider could lock
    a person out of what they have elsewhere.
    """
    elsewhere = {one.organization_id for one in memberships(user)} - {member.organization_id}
    return not user.has_usable_password() and not elsewhere


def _passes_by(request: HttpRequest, user: User, member: MemberPrincipal) -> bool:
    """Whether somebody is an owner who may come in without single sign-on, which is recorded once a session."""
    if member.role != Role.OWNER or not is_mfa_enabled(user):
        return False
    noted: list[str] = request.session.get(_NOTED, [])
    if member.slug not in noted:
        with scope(member.organization_id):
            target = organizations.target(Organization.objects.get())
            record(action=actions.SSO_PASSED_BY, actor=member.actor, target=target)
        request.session[_NOTED] = [*noted, member.slug]
    return True


def _hours(member: MemberPrincipal) -> str:
    return "an hour" if member.session_hours == 1 else f"{member.session_hours} hours"
