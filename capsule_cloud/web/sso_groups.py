"""Groups and the roles that they give: the mapping, what an edit would do, and what of a provider's word counts."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from capsule_cloud.web.console import attempt, page, sensitive, show
from tenancy.access import MemberPrincipal
from tenancy.errors import NotFound, TenancyError
from tenancy.groups import previews, selectors, services
from tenancy.groups.previews import Edit, Preview
from tenancy.models import Project
from tenancy.roles import Right, Role, may_grant
from tenancy.scope import scope
from tenancy.selectors import projects
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers import traces, trust
from tenancy.sso.providers.outcomes import outcome
from tenancy.sso.providers.selectors import provider, providers

BLANK = 3  # lines of an empty form
TRIED = 5  # of the last sign-ins
MOST_SHOWN = 200  # people of a preview
NONE, EVERYWHERE = "none", "organization"  # a line's role, and its project, where there is none


class LineForm(forms.Form):
    """One group, and what it gives; a line that nobody has touched is passed over."""

    group = forms.CharField(
        max_length=255,
        label="Group",
        widget=forms.TextInput(attrs={"list": "known-groups", "autocomplete": "off", "spellcheck": "false"}),
    )
    role = forms.ChoiceField(label="gives the role", initial=Role.MEMBER.value)
    project = forms.ChoiceField(label="in", initial=EVERYWHERE)

    def __init__(self, *args: Any, role: Role, places: Sequence[Project], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = [(one.value, one.label) for one in Role if may_grant(role, one)]
        self.fields["role"].choices = [*roles, (NONE, "No role any more")]  # type: ignore[attr-defined]
        self.fields["project"].choices = [  # type: ignore[attr-defined]
            (EVERYWHERE, "the organization"),
            *((str(one.pk), one.name) for one in places),
        ]


LineFormSet = forms.formset_factory(LineForm, extra=0, max_num=previews.MOST_EDITS, validate_max=True)


class TrustForm(forms.Form):
    """What of a provider's word counts."""

    groups_attribute = forms.CharField(
        max_length=255,
        required=False,
        label="Attribute or claim with the groups",
        help_text="Empty: where identity providers usually have them, such as groups or memberOf.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    is_mfa_trusted = forms.BooleanField(
        required=False,
        label="Its second factor counts",
        help_text="Switch this on if the identity provider asks everybody for a second factor: then we ask for none. "
        "An answer that says how somebody signed in, and names no second factor, does not count.",
    )


@require_safe
@page(Right.SSO_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The mapping, whom it concerns, groups without a role, and what the last sign-ins would give."""
    tried = [(one, outcome(one)) for one in traces.answers(limit=TRIED) if one.subject]
    context: dict[str, Any] = {
        "rows": selectors.mapped(),
        "others": selectors.others(),
        "sources": selectors.sources(),
        "kept": selectors.kept_owner(),
        "tried": tried,
        "providers": providers(),
    }
    return show(request, member, "web/sso_groups.html", "sso", **context)


@page(Right.SSO_MANAGE)
def edit(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """What groups are to give; then what that would do; then it is done, if that is still so."""
    lines = _lines(request, member)
    if request.method != "POST" or "back" in request.POST:
        return _form(request, member, lines)
    if not lines.is_valid():
        return _form(request, member, lines, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    edits = [_edit(one.cleaned_data) for one in lines if one.cleaned_data.get("group")]
    try:
        with scope(member.organization_id):
            if "fingerprint" not in request.POST:
                return _preview(request, member, lines, previews.preview(actor_role=member.role, edits=edits))
            done = services.change(
                actor=member.actor, actor_role=member.role, edits=edits, fingerprint=request.POST["fingerprint"]
            )
    except services.Changed as changed:
        return _preview(request, member, lines, changed.preview, status=HTTPStatus.CONFLICT)
    except TenancyError as failure:
        return _form(request, member, lines, str(failure), status=HTTPStatus.UNPROCESSABLE_ENTITY)
    people = len(done.plan.changes)
    messages.success(request, f"Saved. {people} {'person has' if people == 1 else 'people have'} another role now.")
    return redirect("sso_groups", slug=member.slug)


@page(Right.SSO_MANAGE)
@sensitive
def trusted(request: HttpRequest, member: MemberPrincipal, provider_id: UUID) -> HttpResponse:
    """What of a provider's word counts: its groups, and its second factor."""
    found = _find(provider_id)
    initial = {name: getattr(found, name) for name in TrustForm.base_fields}
    form = TrustForm(request.POST if request.method == "POST" else None, initial=initial)
    chosen = attempt(
        member, form, lambda: trust.choose(actor=member.actor, provider_id=provider_id, **form.cleaned_data)
    )
    if chosen is None:
        return show(request, member, "web/sso_groups_provider.html", "sso", form=form, provider=found)
    messages.success(request, "Saved.")
    return redirect("sso_provider", slug=member.slug, provider_id=provider_id)


def _lines(request: HttpRequest, member: MemberPrincipal) -> Any:
    archived = {row.project for row in selectors.group_roles() if row.project and row.project.archived_at}
    choices = {"role": member.role, "places": [*projects(), *archived], "empty_permitted": True}
    if request.method == "POST":
        return LineFormSet(request.POST, form_kwargs=choices)
    named = [one.replace("\x00", "") for one in request.GET.getlist("group")][: previews.MOST_EDITS]
    line = {
        "role": request.GET.get("role", Role.MEMBER.value),
        "project": request.GET.get("project") or EVERYWHERE,
    }
    initial = [{**line, "group": group} for group in named] or [{**line, "group": ""}] * BLANK
    return LineFormSet(initial=initial, form_kwargs=choices)


def _edit(line: dict[str, Any]) -> Edit:
    role = None if line["role"] == NONE else Role(line["role"])
    return Edit(line["group"], role, None if line["project"] == EVERYWHERE else UUID(line["project"]))


def _form(
    request: HttpRequest, member: MemberPrincipal, lines: Any, error: str = "", status: int = 200
) -> HttpResponse:
    known = [group for group, _ in selectors.others()] + [one.group for one in selectors.group_roles()]
    context = {"lines": lines, "error": error, "known": list(dict.fromkeys(known))}
    return show(request, member, "web/sso_groups_edit.html", "sso", status, **context)


def _preview(
    request: HttpRequest, member: MemberPrincipal, lines: Any, shown: Preview, status: int = 200
) -> HttpResponse:
    changes = shown.plan.changes
    context = {
        "lines": lines,
        "shown": shown,
        "changes": changes[:MOST_SHOWN],
        "left_out": max(len(changes) - MOST_SHOWN, 0),
        "why_not": services.why_not(shown.plan),
        "has_changed": status == HTTPStatus.CONFLICT,
    }
    return show(request, member, "web/sso_groups_preview.html", "sso", status, **context)


def _find(provider_id: UUID) -> IdentityProvider:
    try:
        return provider(provider_id)
    except NotFound:
        raise Http404 from None
