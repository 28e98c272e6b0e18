"""Setup links, for IT admins without an account: made, shown once, and ended."""

from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web import once
from capsule_cloud.web.console import attempt, page, perform, sensitive, show, signed_in
from tenancy.access import MemberPrincipal
from tenancy.roles import Right
from tenancy.sso.setup import selectors, services

ONCE = "new_setup_link"


class LinkForm(forms.Form):
    """Who gets the link."""

    name = forms.CharField(
        max_length=120,
        label="Who is it for?",
        help_text="The audit log says so with everything that is done by the link.",
        widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "off", "placeholder": "Ann, IT of Acme"}),
    )
    email = forms.EmailField(
        required=False,
        label="Send it to",
        help_text="Empty: you copy it on the next page, and send it yourself.",
        widget=forms.EmailInput(attrs={"autocomplete": "off", "placeholder": "it@acme.com"}),
    )


@require_safe
@page(Right.SSO_MANAGE)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Every link with its state."""
    return show(request, member, "web/sso_links.html", "sso", links=selectors.links())


@page(Right.SSO_MANAGE)
@sensitive
def new(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Make a link, then show it once."""
    form = LinkForm(request.POST or None)
    user = signed_in(request)
    made = attempt(member, form, lambda: services.make(actor=member.actor, user=user, **form.cleaned_data))
    if made is None:
        return show(request, member, "web/sso_link_new.html", "sso", form=form)
    once.keep(request, ONCE, made.link.pk, made.secret)
    return redirect("sso_link", slug=member.slug, link_id=made.link.pk)


@require_safe
@page(Right.SSO_MANAGE)
def detail(request: HttpRequest, member: MemberPrincipal, link_id: UUID) -> HttpResponse:
    """A new link, once: asked again, the page only says so."""
    link = next((one for one in selectors.links() if one.pk == link_id), None)
    if link is None:
        raise Http404
    secret = once.take(request, ONCE, link_id)
    address = services.address(secret) if secret else ""
    return show(request, member, "web/sso_link.html", "sso", link=link, address=address)


@require_POST
@page(Right.SSO_MANAGE)
def revoke(request: HttpRequest, member: MemberPrincipal, link_id: UUID) -> HttpResponse:
    """End a link, and what its browser may do."""
    gone = "The link is ended. Whoever had it can do nothing more."
    perform(request, member, lambda: services.revoke(actor=member.actor, link_id=link_id), gone)
    return redirect("sso_links", slug=member.slug)
