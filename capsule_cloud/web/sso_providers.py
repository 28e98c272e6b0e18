"""Identity providers: what to copy where, whether they work, who came by them and why somebody was refused."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web.console import attempt, page, perform, sensitive, show
from capsule_cloud.web.sso_banner import SOON, days_left
from capsule_cloud.web.sso_forms import OidcSettingsForm, SamlSettingsForm
from capsule_cloud.web.sso_guides import ours
from tenancy.access import MemberPrincipal
from tenancy.errors import NotFound
from tenancy.roles import Right
from tenancy.scope import scope
from tenancy.sso import enforcement
from tenancy.sso.domains.selectors import held
from tenancy.sso.models import IdentityProvider
from tenancy.sso.oidc import services as oidc
from tenancy.sso.providers import selectors, services
from tenancy.sso.providers.reasons import REASONS, Refused
from tenancy.sso.sessions import login_address

SHOWN = 10  # of the last sign-ins
NAMES = {
    "acs_url": "ACS URL",
    "entity_id": "Entity ID",
    "logout_url": "Single logout URL",
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
    return show(request, member, "web/sso_provider.html", "sso", **context)


@page(Right.SSO_MANAGE)
def edit(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """Change what sign-in depends on."""
    provider = _find(provider_id)
    is_oidc = provider.protocol == IdentityProvider.Protocol.OIDC
    kind = OidcSettingsForm if is_oidc else SamlSettingsForm
    initial = {name: getattr(provider, name) for name in kind.base_fields if name != "client_secret"}
    form = kind(request.POST or None, initial=initial)

    def change() -> IdentityProvider:
        who: dict[str, Any] = {"actor": member.actor, "actor_role": member.role, "provider_id": provider_id}
        wanted = dict(form.cleaned_data)
        if is_oidc:
            return oidc.change(**who, **wanted)
        return services.change(**who, metadata_xml=wanted.pop("metadata"), **wanted)

    if attempt(member, form, change) is None:
        return show(request, member, "web/sso_provider_edit.html", "sso", form=form, provider=provider)
    messages.success(request, "Saved.")
    return redirect("sso_provider", slug=member.slug, provider_id=provider_id)


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
    """Ask an OpenID provider now what it says of itself."""
    with scope(member.organization_id):
        provider = _find(provider_id)
    if provider.protocol != IdentityProvider.Protocol.OIDC:
        messages.error(request, "This provider is not asked: paste its new metadata under Change.")
        return redirect("sso_provider", slug=member.slug, provider_id=provider_id)
    try:
        oidc.discover(organization_id=member.organization_id, provider_id=provider_id)
        messages.success(request, "Read anew.")
    except Refused as refusal:
        reason = REASONS[refusal.code]
        messages.error(request, f"{reason.sentence} {reason.remedy}")
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
        "test_url": login_address(provider.pk, "/", test="1"),
    }
