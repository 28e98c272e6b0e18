"""Identity providers: what to copy where, whether they work, who came by them and why somebody was refused."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web.console import page, perform, sensitive, show
from capsule_cloud.web.sso_banner import SOON, days_left
from capsule_cloud.web.sso_forms import OidcSettingsForm, SamlSettingsForm, fetched
from capsule_cloud.web.sso_guides import ours
from capsule_cloud.web.sso_visitors import Visitor, for_members
from tenancy.access import MemberPrincipal
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.roles import Right
from tenancy.scope import scope
from tenancy.sso import enforcement
from tenancy.sso.domains.selectors import held
from tenancy.sso.models import IdentityProvider
from tenancy.sso.oidc import services as oidc
from tenancy.sso.providers import selectors, services
from tenancy.sso.providers.reasons import REASONS, Refused
from tenancy.sso.saml import keys, metadata, refreshing
from tenancy.sso.sessions import login_address

SHOWN = 10  # of the last sign-ins
KEY_STEPS = {
    "prepare": (keys.prepare, "Made. Give the identity provider our metadata anew, then let the new key take over."),
    "switch": (keys.switch, "The other key signs now. Test it."),
    "drop": (keys.drop, "Forgotten."),
}
NAMES = {
    "acs_url": "ACS URL",
    "entity_id": "Entity ID",
    "logout_url": "Single logout URL",
    "logout_post_url": "The same, by POST",
    "redirect_uri": "Redirect URI",
    "backchannel_logout_uri": "Back-channel logout URI",
    "login_url": "Login URL",
}


@require_safe
@page(Right.SSO_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Every provider with its state; the empty page says how to begin."""
    rows = [_told(one) for one in selectors.providers()]
    required = member.is_sso_required
    context: dict[str, Any] = {"rows": rows, "has_domain": held().exists(), "is_required": required}
    return show(request, member, "web/sso_providers.html", "sso", **context)


@require_POST
@page(Right.SSO_MANAGE)
@sensitive
def require(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Require single sign-on of everybody, or no longer."""
    is_required = request.POST.get("is_required") == "1"
    done = "Everybody signs in by your identity provider now." if is_required else "Passwords and passkeys go, too."
    perform(request, member, lambda: enforcement.require(actor=member.actor, is_required=is_required), done)
    return redirect("sso_providers", slug=member.slug)


@require_safe
@page(Right.SSO_READ)
def detail(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """One provider: our side of it, its state, and the last sign-ins with what was asserted."""
    provider = _find(provider_id)
    sign_ins = [(one, REASONS.get(one.code)) for one in selectors.sign_ins(provider_id, limit=SHOWN)]
    context = _told(provider) | {"sign_ins": sign_ins, "has_domain": held().exists()}
    context["refused"] = REASONS.get(request.GET.get("refused", ""))  # a test of theirs, just now
    return show(request, member, "web/sso_provider.html", "sso", **context)


def edit(request: HttpRequest, visitor: Visitor, provider_id: UUID) -> HttpResponse:
    """Change what sign-in depends on. Metadata with an address is read there."""
    with scope(visitor.organization_id):
        provider = _find(provider_id)
    is_oidc = provider.protocol == IdentityProvider.Protocol.OIDC
    kind = OidcSettingsForm if is_oidc else SamlSettingsForm
    initial = {name: getattr(provider, name) for name in kind.base_fields if name != "client_secret"}
    form = kind(request.POST or None, initial=initial)

    def change() -> IdentityProvider:
        wanted = dict(form.cleaned_data)
        if not is_oidc:
            wanted["metadata_xml"] = wanted.pop("metadata")
            address = (wanted["metadata_url"], wanted["metadata_certificate"])
            if wanted["metadata_url"] and address != (provider.metadata_url, provider.metadata_certificate):
                wanted["metadata_xml"] = fetched(*address)
        with scope(visitor.organization_id):
            service = oidc.change if is_oidc else services.change
            member = visitor.as_member
            return service(actor=member.actor, actor_role=member.role, provider_id=provider_id, **wanted)

    if visitor.attempt(form, change, is_scoped=False) is None:
        with scope(visitor.organization_id):
            return visitor.show(request, "web/sso_provider_edit.html", form=form, provider=provider)
    messages.success(request, "Saved.")
    return visitor.go("provider", provider_id)


member_edit = for_members(Right.SSO_MANAGE, is_scoped=False)(edit)


@require_POST
@page(Right.SSO_MANAGE)
def switch(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """Let people sign in by it, or no longer."""
    is_on = request.POST.get("is_on") == "1"
    if is_on and request.POST.get("version") != str(_find(provider_id).version):
        messages.error(request, "It was changed since you opened the page: look at it, then switch it on.")
        return redirect("sso_provider", slug=member.slug, provider_id=provider_id)
    done = "People of your domains sign in by it now." if is_on else "Nobody signs in by it any more."
    perform(request, member, lambda: services.switch(actor=member.actor, provider_id=provider_id, is_on=is_on), done)
    return redirect("sso_provider", slug=member.slug, provider_id=provider_id)


@require_POST
@page(Right.SSO_MANAGE, is_scoped=False)
def ask(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """Ask the provider now what it says of itself: its metadata, or its discovery document."""
    with scope(member.organization_id):
        provider = _find(provider_id)
    try:
        if provider.protocol == IdentityProvider.Protocol.OIDC:
            oidc.discover(organization_id=member.organization_id, provider_id=provider_id)
        else:
            provider = refreshing.fetch_now(
                actor=member.actor, organization_id=member.organization_id, provider_id=provider_id
            )
        failure = provider.metadata_failure
    except Refused as refusal:
        failure = f"{REASONS[refusal.code].sentence} {REASONS[refusal.code].remedy}"
    except Conflict as conflict:
        failure = str(conflict)
    if failure:
        messages.error(request, failure)
    else:
        messages.success(request, "Read anew.")
    return redirect("sso_provider", slug=member.slug, provider_id=provider_id)


@require_POST
@page(Right.SSO_MANAGE)
@sensitive
def key(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """Make our next key, let it take the other's place, or forget the one that is not in use."""
    step, done = KEY_STEPS.get(request.POST.get("step", ""), (None, ""))
    if step is None:
        raise Http404
    perform(request, member, lambda: step(actor=member.actor, provider_id=provider_id), done)
    return redirect("sso_provider", slug=member.slug, provider_id=provider_id)


@page(Right.SSO_MANAGE)
def remove(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """Forget a provider, once it was asked for."""
    provider = _find(provider_id)
    if request.method == "POST":
        gone = f"{provider.name} is removed."
        perform(request, member, lambda: services.remove(actor=member.actor, provider_id=provider_id), gone)
        return redirect("sso_providers", slug=member.slug)
    return show(request, member, "web/sso_provider_remove.html", "sso", provider=provider)


def _find(provider_id: UUID) -> IdentityProvider:
    try:
        return selectors.provider(provider_id)
    except NotFound:
        raise Http404 from None


def _told(provider: IdentityProvider) -> dict[str, Any]:
    days = days_left(provider)
    return {
        "provider": provider,
        "ours": [(NAMES[key], key, text) for key, text in ours(provider.pk, provider.protocol).items() if key in NAMES],
        "days_left": days,
        "is_ending": days is not None and days < SOON,
        "signs_out": _signs_out(provider),
        "our_keys": [keys.fingerprint(one) for one in (provider.certificate, provider.spare_certificate)],
        "test_url": login_address(provider.pk, "/", test="1"),
    }


def _signs_out(provider: IdentityProvider) -> str:
    """What becomes of a session when the one on the other side ends."""
    if provider.protocol == IdentityProvider.Protocol.OIDC:
        is_told = (provider.discovered or {}).get("backchannel_logout_supported")
        return "who signs out there is signed out here" if is_told else "each side for itself"
    try:
        has_address = metadata.read(provider.metadata).logout_url
    except Invalid:  # it has ended
        has_address = ""
    return "here and there" if has_address else "here alone: its metadata names no address for it"
