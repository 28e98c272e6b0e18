"""Organization settings: its name, what it demands of members, closing and restoring it."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from billing.services.accounts import close_organization
from capsule_cloud.web import forms
from capsule_cloud.web.billing_frame import order
from capsule_cloud.web.console import attempt, page, perform, sensitive, show
from tenancy import selectors
from tenancy.access import MemberPrincipal
from tenancy.models import Organization
from tenancy.roles import Right
from tenancy.scope import scope
from tenancy.services import organizations


@page(Right.ORGANIZATION_READ, when_closed=True)
def detail(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The settings page; for a closed organization, when its data goes and how to get it back."""
    return _settings_page(request, member)


@require_POST
@page(Right.ORGANIZATION_WRITE)
def rename(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Change the name."""
    form = forms.OrganizationSettingsForm(request.POST)
    if _update(member, form):
        messages.success(request, "Saved.")
        return redirect("settings", slug=member.slug)
    return _settings_page(request, member, name_form=form)


@require_POST
@page(Right.ORGANIZATION_WRITE)
@sensitive
def security(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Change what the organization demands of its members."""
    form = forms.SecurityForm(request.POST)
    if _update(member, form):
        demanded = form.cleaned_data["is_mfa_required"]
        done = "A second factor is now required." if demanded else "A second factor is now optional."
        messages.success(request, f"Saved. {done}")
        return redirect("settings", slug=member.slug)
    return _settings_page(request, member, security_form=form)


@page(Right.ORGANIZATION_CLOSE, is_scoped=False)
@sensitive
def close(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Close the organization and end what it pays for, after its short name is typed and the person signed in again."""
    form = forms.CloseForm(member.slug, request.POST or None)
    if form.is_valid():
        order(
            request,
            lambda: close_organization(organization_id=member.organization_id, actor=member.actor),
            f"{member.name} is closed. You can restore it until its data is deleted.",
        )
        return redirect("settings", slug=member.slug)
    with scope(member.organization_id):
        return show(request, member, "web/organization_close.html", "settings", form=form)


@require_POST
@page(Right.ORGANIZATION_CLOSE, when_closed=True)
def restore(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Open a closed organization again."""
    perform(request, member, lambda: organizations.restore(actor=member.actor), f"{member.name} is open again.")
    return redirect("settings", slug=member.slug)


def _update(member: MemberPrincipal, form: forms.OrganizationSettingsForm | forms.SecurityForm) -> bool:
    changed = attempt(member, form, lambda: organizations.update(actor=member.actor, **form.cleaned_data))
    return changed is not None


def _settings_page(
    request: HttpRequest,
    member: MemberPrincipal,
    name_form: forms.OrganizationSettingsForm | None = None,
    security_form: forms.SecurityForm | None = None,
) -> HttpResponse:
    organization = selectors.organization()
    is_refused = bool((name_form and name_form.errors) or (security_form and security_form.errors))
    return show(
        request,
        member,
        "web/settings.html",
        "settings",
        422 if is_refused else 200,
        organization=organization,
        purge_at=organizations.purge_after(organization) if organization.closed_at else None,
        name_form=name_form or forms.OrganizationSettingsForm(initial={"name": organization.name}),
        security_form=security_form or forms.SecurityForm(initial=_security(organization)),
    )


def _security(organization: Organization) -> dict[str, Any]:
    return {
        "is_mfa_required": organization.is_mfa_required,
        "session_hours": str(organization.session_hours or 0),
    }
