"""The start of everything: landing page, a new organization, invitations, and an organization's overview."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from billing.metering import selectors as metering
from billing.metering.meters import COUNTERS, Meter
from billing.selectors import subscriptions as agreed
from billing.selectors.so_far import so_far
from capsule_cloud.web import forms
from capsule_cloud.web.billing import plan_notices
from capsule_cloud.web.chart import last_days
from capsule_cloud.web.console import LAST_ORGANIZATION, page, show, signed_in
from capsule_cloud.web.snippets import first_steps as snippets
from tenancy import selectors
from tenancy.access import MemberPrincipal, memberships
from tenancy.audit.selectors import events
from tenancy.errors import Forbidden, LimitReached, TenancyError
from tenancy.models import Project, User
from tenancy.roles import Right
from tenancy.services import invitations, organizations
from tenancy.sso.sessions import memberships_of, provider_of

CHART_DAYS = 30
CALLS = {meter.value: meter.label for meter in Meter if meter in COUNTERS}


@require_safe
def front(request: HttpRequest) -> HttpResponse:
    """The landing page; a signed-in person goes on to their last organization, or to making one."""
    if not isinstance(request.user, User):
        return render(request, "web/landing.html", {"snippets": snippets(settings.PUBLIC_URL)})
    mine = memberships_of(request)
    if not mine:
        # a session that an identity provider opened shows its organization alone, and they are no member any more
        return redirect("organization_new" if provider_of(request) is None else "account_logout")
    last = request.session.get(LAST_ORGANIZATION)
    best = next((one for one in mine if one.slug == last), None) or next(
        (one for one in mine if not one.closed_at), mine[0]
    )
    return redirect("home", slug=best.slug)


@login_required
def organization_new(request: HttpRequest) -> HttpResponse:
    """Make an organization, or accept one of the invitations that wait for this person."""
    user = signed_in(request)
    form = forms.OrganizationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            organization = organizations.create(user=user, **form.cleaned_data)
        except TenancyError as failure:
            form.add_error(None, str(failure))
        else:
            messages.success(request, f"{organization.name} is ready.")
            return redirect("home", slug=organization.slug)
    offers = [(token, invitations.read(token)) for token in invitations.tokens_for_email(user.email)]
    context = {"form": form, "offers": offers, "is_first": not memberships(user)}
    return render(request, "web/organization_new.html", context, status=422 if form.errors else 200)


@login_required
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """What an invitation link offers, and its acceptance."""
    user = signed_in(request)
    try:
        offer = invitations.read(token)
        if request.method == "POST":
            invitations.accept(token=token, user=user)
            messages.success(request, f"Welcome to {offer.organization_name}.")
            slug = next(one.slug for one in memberships(user) if one.organization_id == offer.organization_id)
            return redirect("home", slug=slug)
    except invitations.InvitationInvalid as failure:
        return render(request, "web/invitation_invalid.html", {"reason": str(failure)}, status=410)
    except (Forbidden, LimitReached) as failure:
        return render(request, "web/invitation_invalid.html", {"reason": str(failure)}, status=403)
    is_for_me = offer.email.lower() == user.email.lower()
    return render(request, "web/invitation.html", {"offer": offer, "token": token, "is_for_me": is_for_me})


@page(Right.ORGANIZATION_READ)
def home(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Usage of 30 days, first steps, and the latest activity; who sees no projects is led to what they do see."""
    if not member.has(Right.PROJECTS_READ):
        return redirect("billing", slug=member.slug)
    rows = selectors.projects()
    project = _filter(rows, request.GET.get("project", ""))
    points = metering.last_days(CHART_DAYS, project_id=project.pk if project else None).points
    usage = [(point.at.date(), point.group["meter"], point.quantity) for point in points]
    chart = last_days(usage, meters=CALLS, last_day=timezone.now().date(), days=CHART_DAYS)
    steps = selectors.first_steps()
    return show(
        request,
        member,
        "web/home.html",
        "home",
        projects=rows,
        project=project,
        chart=chart,
        steps=steps,
        calls_today=chart.columns[-1].total,
        key_count=len(selectors.keys()) if member.has(Right.KEYS_READ) else None,
        steps_done=1 + steps.has_key + steps.has_used_key + steps.has_colleague,
        snippets=snippets(settings.PUBLIC_URL),
        activity=events(limit=8) if member.has(Right.AUDIT_READ) else None,
        **plan_notices(so_far(), agreed.live(), agreed.account()),
    )


def _filter(rows: list[Project], slug: str) -> Project | None:
    found = next((one for one in rows if one.slug == slug), None)
    if slug and found is None:
        raise Http404
    return found
