"""Leads through connecting an identity provider: whose it is, what to copy where, and live what its test brings."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from capsule_cloud.web import (
    sso_guide_entra,
    sso_guide_google,
    sso_guide_jumpcloud,
    sso_guide_okta,
    sso_guide_onelogin,
    sso_guide_other,
)
from capsule_cloud.web.sso_forms import NewProviderForm, OidcForm, ReadingForm, SamlForm
from capsule_cloud.web.sso_guides import Guide, told
from capsule_cloud.web.sso_previews import preview
from capsule_cloud.web.sso_visitors import Visitor, for_guests, for_members
from tenancy.errors import NotFound
from tenancy.roles import Right
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers import selectors, services
from tenancy.sso.sessions import login_address
from tenancy.sso.setup import selectors as setups
from tenancy.sso.setup import services as setup
from tenancy.sso.setup.models import Protocol, ProviderSetup, Vendor

MODULES = (
    sso_guide_okta,
    sso_guide_entra,
    sso_guide_google,
    sso_guide_onelogin,
    sso_guide_jumpcloud,
    sso_guide_other,
)
GUIDES: dict[tuple[str, str], Guide] = {
    (guide.vendor.value, guide.protocol.value): guide for one in MODULES for guide in (one.SAML, one.OIDC)
}

FIXED_ISSUERS = (Vendor.GOOGLE, Vendor.JUMPCLOUD)  # the same for everybody


def new(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Choose whose identity provider it is; that begins its setup."""
    if request.method == "POST":
        vendor, _, protocol = request.POST.get("guide", "").partition("-")
        if (vendor, protocol) not in GUIDES:
            raise Http404
        begun = setup.begin(vendor=vendor, protocol=protocol)
        return visitor.go("provider_guide", begun.pk)
    vendors = [
        {"vendor": vendor, "protocols": [guide.protocol for (name, _), guide in GUIDES.items() if name == vendor.value]}
        for vendor in Vendor
    ]
    return visitor.show(request, "web/sso_provider_new.html", vendors=vendors, providers=selectors.providers())


def guide(request: HttpRequest, visitor: Visitor, provider_id: UUID) -> HttpResponse:
    """The guide of one provider, from the first step to its first sign-in; its end asks again by itself."""
    with scope(visitor.organization_id):
        begun = _begun(provider_id)
        provider = IdentityProvider.objects.filter(pk=provider_id).first()
    if request.method == "POST" and provider is None:
        return _entered(request, visitor, begun)
    with scope(visitor.organization_id):
        if request.headers.get("HX-Request"):
            return visitor.show(request, "web/sso_guide_status.html", **_status(provider))
        return _page(request, visitor, begun, provider, form_for(begun))


def _entered(request: HttpRequest, visitor: Visitor, begun: ProviderSetup) -> HttpResponse:
    form = form_for(begun, request)
    added = visitor.attempt(form, lambda: form.add(visitor, begun.pk), is_scoped=False)
    if added is not None:
        if refusal := form.ask(visitor, begun.pk):
            messages.error(request, f"Added. {refusal.sentence} {refusal.remedy}")
        else:
            messages.success(request, "Added. Now try it yourself.")
        return visitor.go("provider_guide", begun.pk)
    with scope(visitor.organization_id):
        return _page(request, visitor, begun, None, form)


def _page(
    request: HttpRequest,
    visitor: Visitor,
    begun: ProviderSetup,
    provider: IdentityProvider | None,
    form: NewProviderForm,
) -> HttpResponse:
    chosen = GUIDES[begun.vendor, begun.protocol]
    context = {
        "guide": chosen,
        "vendor": Vendor(begun.vendor),
        "provider_id": begun.pk,
        "steps": told(chosen, begun.pk),
    }
    return visitor.show(request, "web/sso_guide.html", form=form, **context, **_status(provider))


def form_for(begun: ProviderSetup, request: HttpRequest | None = None) -> NewProviderForm:
    """What is asked for at a provider of this kind, with what was entered."""
    chosen = GUIDES[begun.vendor, begun.protocol]
    initial = {"name": "" if chosen.vendor is Vendor.OTHER else chosen.vendor.label}
    if chosen.protocol == Protocol.OIDC and chosen.vendor in FIXED_ISSUERS:
        initial["issuer"] = chosen.issuer
    kind = OidcForm if chosen.protocol == Protocol.OIDC else SamlForm
    form = kind(request.POST, request.FILES, initial=initial) if request else kind(initial=initial)
    if chosen.protocol == Protocol.OIDC:
        form.fields["issuer"].widget.attrs["placeholder"] = chosen.issuer
    return form


def restart(request: HttpRequest, visitor: Visitor, provider_id: UUID) -> HttpResponse:
    """Take back what was entered of a provider that nobody has switched on yet; its addresses stay the same."""
    provider = IdentityProvider.objects.select_for_update(no_key=True).filter(pk=provider_id).first()
    if provider is None or not ProviderSetup.objects.filter(pk=provider_id).exists():
        raise Http404
    if provider.state == IdentityProvider.State.DRAFT:
        services.remove(actor=visitor.actor, provider_id=provider_id)
        messages.success(request, "Taken back. Our addresses are the same as before.")
    else:
        messages.error(request, "This provider is in use, or was: change it, or remove it and begin anew.")
    return visitor.go("provider_guide", provider_id)


def read_as(request: HttpRequest, visitor: Visitor, provider_id: UUID) -> HttpResponse:
    """Say where the address and the name stand, of a provider that nobody has switched on yet."""
    provider = IdentityProvider.objects.select_for_update(no_key=True).filter(pk=provider_id).first()
    if provider is None or provider.state != IdentityProvider.State.DRAFT:
        raise Http404
    form = ReadingForm(request.POST)
    if visitor.attempt(form, lambda: form.change(visitor, provider)) is None:
        messages.error(request, "An attribute's name has at most 255 characters.")
    else:
        messages.success(request, "Saved. Test again.")
    return visitor.go("provider_guide", provider_id)


def _status(provider: IdentityProvider | None) -> dict[str, Any]:
    """What has come of it so far."""
    if provider is None:
        return {"provider": None, "progress": setups.progress()}
    last = next(iter(selectors.sign_ins(provider.pk, limit=1)), None)
    initial = {name: getattr(provider, name) for name in ReadingForm.base_fields}
    return {
        "provider": provider,
        "reading": ReadingForm(initial=initial),
        "progress": setups.progress(),
        "last": last,
        "preview": preview(provider, last) if last else None,
        "is_waiting": provider.tested_at is None,
        "test_url": login_address(provider.pk, "/", test="1"),
    }


def _begun(provider_id: UUID) -> ProviderSetup:
    try:
        return setups.setup_of(provider_id)
    except NotFound:
        raise Http404 from None


member_new = for_members(Right.SSO_MANAGE)(new)
guest_new = for_guests(new)
member_guide = for_members(Right.SSO_MANAGE, is_scoped=False)(guide)
guest_guide = for_guests(guide, is_scoped=False)
member_read_as = require_POST(for_members(Right.SSO_MANAGE)(read_as))
guest_read_as = require_POST(for_guests(read_as))
member_restart = require_POST(for_members(Right.SSO_MANAGE)(restart))
guest_restart = require_POST(for_guests(restart))
