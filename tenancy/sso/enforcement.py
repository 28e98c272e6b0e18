"""Has an organization's people sign in by its identity provider alone, and keeps a way in for owners when it is broken.

What is required holds for the organization's pages, whatever other organizations of a person allow. API keys go on.
"""

from datetime import timedelta

from allauth.mfa.utils import is_mfa_enabled
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from tenancy.access import MemberPrincipal
from tenancy.audit import actions
from tenancy.audit.services import Actor, record
from tenancy.errors import Conflict
from tenancy.models import Membership, Organization, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import organizations
from tenancy.sso.models import IdentityProvider
from tenancy.sso.sessions import login_address, provider_of

FRESH = timedelta(hours=1)  # that old may the test be of who wants it required
_NOTED = "sso_broken_in"


class NobodyCouldComeIn(Conflict):
    """What is asked for would lock people out; `str()` says what to do first."""


def require(*, actor: Actor, is_required: bool) -> Organization:
    """Require single sign-on of the organization in scope, or no longer.

    Raises NobodyCouldComeIn without a provider in use that was tested within FRESH, or an owner with a second factor.
    """
    organization = organizations.locked()
    if is_required and not organization.is_sso_required:
        since = timezone.now() - FRESH
        if not IdentityProvider.objects.filter(state=IdentityProvider.State.ACTIVE, tested_at__gt=since).exists():
            raise NobodyCouldComeIn("Test a provider that is in use first: within the last hour, as it is now.")
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

    Owners with a second factor may come in without: each session that does is recorded. Opens its own scope.
    """
    if not member.is_sso_required or provider_of(request) is not None:
        return None
    if member.role == Role.OWNER and is_mfa_enabled(user):
        noted: list[str] = request.session.get(_NOTED, [])
        if member.slug not in noted:
            with scope(member.organization_id):
                target = organizations.target(Organization.objects.get())
                record(action=actions.SSO_PASSED_BY, actor=member.actor, target=target)
            request.session[_NOTED] = [*noted, member.slug]
        return None
    with scope(member.organization_id):
        provider = IdentityProvider.objects.filter(state=IdentityProvider.State.ACTIVE).order_by("id").first()
    if provider is None:  # the last one went away by other ways than ours
        return reverse("account_logout")
    onward = request.get_full_path() if request.method == "GET" else reverse("home", kwargs={"slug": member.slug})
    return login_address(provider.pk, onward, ask="1")
