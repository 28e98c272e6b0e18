"""Identity providers: what to copy where, whether they work, who came by them and why somebody was refused."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web.console import attempt, page, perform, sensitive, show
from tenancy.access import MemberPrincipal
from tenancy.errors import NotFound
from tenancy.roles import Right, Role
from tenancy.sso import enforcement
from tenancy.sso.domains.selectors import held
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers import selectors, services
from tenancy.sso.providers.reasons import REASONS
from tenancy.sso.saml import configuration

SHOWN = 25  # of the last sign-ins
SOON = 30  # days before a certificate ends in which we say so


class ProviderForm(forms.Form):
    """A new identity provider."""

    name = forms.CharField(
        max_length=120,
        label="Name",
        help_text="For yourselves, such as Okta or Entra ID.",
        widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "off"}),
    )
    metadata = forms.CharField(
        label="Its metadata",
        help_text="The XML that the identity provider offers as “metadata” or “federation metadata”.",
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "mono"}),
    )


class SettingsForm(ProviderForm):
    """What else can be chosen of a provider."""

    email_attribute = forms.CharField(
        max_length=255,
        required=False,
        label="Attribute with the e-mail address",
        help_text="Empty: where identity providers usually have it, or the NameID.",
    )
    name_attribute = forms.CharField(
        max_length=255, required=False, label="Attribute with the name", help_text="Empty: the usual ones."
    )
    default_role = forms.ChoiceField(choices=Role.choices, label="Role of newcomers")
    is_unsolicited_allowed = forms.BooleanField(
        required=False,
        label="Sign-in may begin at the identity provider",
        help_text="For tiles in its app launcher. A little less safe: we cannot know who asked for the sign-in.",
    )


@require_safe
@page(Right.SSO_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Every provider with its state; the empty page says how to begin."""
    rows = [_told(one) for one in selectors.providers()]
    required = member.is_sso_required
    context: dict[str, Any] = {"rows": rows, "has_domain": held().exists(), "is_required": required}
    return show(request, member, "web/sso_providers.html", "settings", **context)


@require_POST
@page(Right.SSO_MANAGE)
@sensitive
def require(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Require single sign-on of everybody, or no longer."""
    is_required = request.POST.get("is_required") == "1"
    done = "Everybody signs in by your identity provider now." if is_required else "Passwords and passkeys go, too."
    perform(request, member, lambda: enforcement.require(actor=member.actor, is_required=is_required), done)
    return redirect("sso_providers", slug=member.slug)


@page(Right.SSO_MANAGE)
def new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Add a provider, then show what to copy to its side."""
    form = ProviderForm(request.POST or None)
    added = attempt(
        member,
        form,
        lambda: services.add(
            actor=member.actor, name=form.cleaned_data["name"], metadata_xml=form.cleaned_data["metadata"]
        ),
    )
    if added is None:
        return show(request, member, "web/sso_provider_new.html", "settings", form=form)
    messages.success(request, "Added. Now copy our side to the identity provider.")
    return redirect("sso_provider", slug=member.slug, provider_id=added.pk)


@require_safe
@page(Right.SSO_READ)
def detail(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """One provider: our side of it, its state, and the last sign-ins with what was asserted."""
    provider = _find(provider_id)
    sign_ins = [(one, REASONS.get(one.code)) for one in selectors.sign_ins(provider_id, limit=SHOWN)]
    context = _told(provider) | {"sign_ins": sign_ins, "has_domain": held().exists()}
    return show(request, member, "web/sso_provider.html", "settings", **context)


@page(Right.SSO_MANAGE)
def edit(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """Change what sign-in depends on."""
    provider = _find(provider_id)
    initial = {name: getattr(provider, name) for name in SettingsForm.base_fields}
    form = SettingsForm(request.POST or None, initial=initial)

    def change() -> IdentityProvider:
        wanted = {**form.cleaned_data, "metadata_xml": form.cleaned_data["metadata"]}
        del wanted["metadata"]
        return services.change(actor=member.actor, actor_role=member.role, provider_id=provider_id, **wanted)

    if attempt(member, form, change) is None:
        return show(request, member, "web/sso_provider_edit.html", "settings", form=form, provider=provider)
    messages.success(request, "Saved.")
    return redirect("sso_provider", slug=member.slug, provider_id=provider_id)


@require_POST
@page(Right.SSO_MANAGE)
def switch(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """Let people sign in by it, or no longer."""
    is_on = request.POST.get("is_on") == "1"
    done = "People of your domains sign in by it now." if is_on else "Nobody signs in by it any more."
    perform(request, member, lambda: services.switch(actor=member.actor, provider_id=provider_id, is_on=is_on), done)
    return redirect("sso_provider", slug=member.slug, provider_id=provider_id)


@page(Right.SSO_MANAGE)
def remove(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """Forget a provider, once it was asked for."""
    provider = _find(provider_id)
    if request.method == "POST":
        gone = f"{provider.name} is removed."
        perform(request, member, lambda: services.remove(actor=member.actor, provider_id=provider_id), gone)
        return redirect("sso_providers", slug=member.slug)
    return show(request, member, "web/sso_provider_remove.html", "settings", provider=provider)


def _find(provider_id: UUID) -> IdentityProvider:
    try:
        return selectors.provider(provider_id)
    except NotFound:
        raise Http404 from None


def _told(provider: IdentityProvider) -> dict[str, Any]:
    ends = provider.certificate_expires_at
    days = None if ends is None else (ends - timezone.now()).days
    return {
        "provider": provider,
        "acs_url": configuration.acs_url(provider.pk),
        "our_entity_id": configuration.entity_id(provider.pk),
        "days_left": days,
        "is_ending": days is not None and days < SOON,
    }
