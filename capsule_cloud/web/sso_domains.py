"""Domains that the organization proves to be its own: the record to copy, and live what was found in DNS."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web.console import attempt, page, perform, show
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
    rows = [_told(one) for one in selectors.domains()]
    return show(request, member, "web/sso_domains.html", "settings", rows=rows)


@page(Right.SSO_MANAGE)
def new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Add a domain, then show its record."""
    form = DomainForm(request.POST or None)
    added = attempt(member, form, lambda: services.add(actor=member.actor, domain=form.cleaned_data["domain"]))
    if added is None:
        return show(request, member, "web/sso_domain_new.html", "settings", form=form)
    messages.success(request, "Added. Now put its record into DNS.")
    return redirect("sso_domain", slug=member.slug, domain_id=added.pk)


@require_safe
@page(Right.SSO_READ)
def detail(request: HttpRequest, member: MemberPrincipal, domain_id: UUID) -> HttpResponse:
    """One domain: its record, and what was found. It asks again while it waits for the record."""
    domain = _find(domain_id)
    part = "web/sso_domain_part.html" if request.headers.get("HX-Request") else "web/sso_domain.html"
    return show(request, member, part, "settings", **_told(domain))


@require_POST
@page(Right.SSO_MANAGE, is_scoped=False)
def check(request: HttpRequest, member: MemberPrincipal, domain_id: UUID) -> HttpResponse:
    """Look into DNS now."""
    try:
        services.check(actor=member.actor, organization_id=member.organization_id, domain_id=domain_id)
    except NotFound:
        raise Http404 from None
    except services.TooSoon as failure:
        messages.error(request, str(failure))
    return redirect("sso_domain", slug=member.slug, domain_id=domain_id)


@page(Right.SSO_MANAGE)
def remove(request: HttpRequest, member: MemberPrincipal, domain_id: UUID) -> HttpResponse:
    """Give a domain up."""
    domain = _find(domain_id)
    if request.method == "POST":
        gone = f"{names.shown(domain.domain)} is removed."
        perform(request, member, lambda: services.remove(actor=member.actor, domain_id=domain_id), gone)
        return redirect("sso_domains", slug=member.slug)
    return show(request, member, "web/sso_domain_remove.html", "settings", **_told(domain))


def _find(domain_id: UUID) -> VerifiedDomain:
    try:
        return selectors.domain(domain_id)
    except NotFound:
        raise Http404 from None


def _told(domain: VerifiedDomain) -> dict[str, Any]:
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
