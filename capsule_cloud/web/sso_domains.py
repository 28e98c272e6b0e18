"""Domains that the organization proves to be its own: the record to copy, and live what was found in DNS."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web.console import page, perform, show
from capsule_cloud.web.sso_visitors import Visitor, for_guests, for_members
from tenancy.access import MemberPrincipal
from tenancy.errors import NotFound
from tenancy.roles import Right
from tenancy.sso.domains import names, selectors, services
from tenancy.sso.domains.evidence import remedy_of
from tenancy.sso.models import VerifiedDomain


class DomainForm(forms.Form):
    """A new domain."""

    domain = forms.CharField(
        max_length=255,
        label="Domain",
        help_text="What stands behind the @ of your people's addresses. Subdomains count for themselves alone.",
        widget=forms.TextInput(
            attrs={"autofocus": True, "placeholder": "acme.com", "autocomplete": "off", "spellcheck": "false"}
        ),
    )


@require_safe
@page(Right.SSO_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Every domain with its state; the empty page says what they are for."""
    rows = [told(one) for one in selectors.domains()]
    return show(request, member, "web/sso_domains.html", "sso", rows=rows)


def new(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Add a domain, then show its record."""
    form = DomainForm(request.POST or None)
    added = visitor.attempt(form, lambda: services.add(actor=visitor.actor, domain=form.cleaned_data["domain"]))
    if added is None:
        return visitor.show(request, "web/sso_domain_new.html", form=form)
    messages.success(request, "Added. Now put its record into DNS.")
    return visitor.go("domain", added.pk)


@require_safe
def detail(request: HttpRequest, visitor: Visitor, domain_id: UUID) -> HttpResponse:
    """One domain: its record, and what was found. It asks again while it waits for the record."""
    domain = _find(domain_id)
    part = "web/sso_domain_part.html" if request.headers.get("HX-Request") else "web/sso_domain.html"
    return visitor.show(request, part, **told(domain))


@require_POST
def check(request: HttpRequest, visitor: Visitor, domain_id: UUID) -> HttpResponse:
    """Look into DNS now."""
    try:
        services.check(actor=visitor.actor, organization_id=visitor.organization_id, domain_id=domain_id)
    except NotFound:
        raise Http404 from None
    except services.TooSoon as failure:
        messages.error(request, str(failure))
    return visitor.go("domain", domain_id)


member_new = for_members(Right.SSO_MANAGE)(new)
guest_new = for_guests(new)
member_detail = for_members(Right.SSO_READ)(detail)
guest_detail = for_guests(detail)
member_check = for_members(Right.SSO_MANAGE, is_scoped=False)(check)
guest_check = for_guests(check, is_scoped=False)


@page(Right.SSO_MANAGE)
def remove(request: HttpRequest, member: MemberPrincipal, domain_id: UUID) -> HttpResponse:
    """Give a domain up."""
    domain = _find(domain_id)
    if request.method == "POST":
        gone = f"{names.shown(domain.domain)} is removed."
        perform(request, member, lambda: services.remove(actor=member.actor, domain_id=domain_id), gone)
        return redirect("sso_domains", slug=member.slug)
    context = told(domain) | {"people": selectors.people_of(domain)}
    return show(request, member, "web/sso_domain_remove.html", "sso", **context)


def _find(domain_id: UUID) -> VerifiedDomain:
    try:
        return selectors.domain(domain_id)
    except NotFound:
        raise Http404 from None


def told(domain: VerifiedDomain) -> dict[str, Any]:
    """What a page says of a domain."""
    is_waiting = domain.state == VerifiedDomain.State.PENDING and domain.due_at is not None
    return {
        "domain": domain,
        "shown": names.shown(domain.domain),
        "label": names.label_of(domain.domain),
        "zone": names.shown(names.zone_of(domain.domain)),
        "record": names.record_of(domain.domain),
        "value": names.VALUE + domain.token,
        "remedy": remedy_of(domain.last_code, domain.domain),
        "is_waiting": is_waiting,
        "yields_after": services.YIELDS_AFTER.days,
    }
