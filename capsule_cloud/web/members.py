"""Members and invitations."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from capsule_cloud.web import forms
from capsule_cloud.web.console import attempt, page, perform, show
from tenancy import selectors
from tenancy.access import MemberPrincipal
from tenancy.models import Membership
from tenancy.roles import Right, Role, may_grant
from tenancy.services import invitations, members


@page(Right.MEMBERS_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Who belongs here, and who is invited."""
    listed = [(one, _may_change(member, one)) for one in selectors.members()]
    return show(
        request,
        member,
        "web/members.html",
        "members",
        members=listed,
        invitations=selectors.open_invitations(),
        limit=selectors.organization().member_limit,
    )


@page(Right.MEMBERS_WRITE)
def invite(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Invite somebody by e-mail."""
    form = forms.InvitationForm(member.role, request.POST or None, initial={"role": Role.MEMBER})
    if request.method == "POST" and form.is_valid():
        made = attempt(
            member,
            form,
            lambda: invitations.create(actor=member.actor, actor_role=member.role, **form.cleaned_data),
        )
        if made is not None:
            messages.success(request, f"{made.email} is invited. The link works for 7 days.")
            return redirect("members", slug=member.slug)
    return show(request, member, "web/member_invite.html", "members", 422 if form.errors else 200, form=form)


@require_POST
@page(Right.MEMBERS_WRITE)
def resend(request: HttpRequest, member: MemberPrincipal, invitation_id: UUID) -> HttpResponse:
    """Mail an invitation again; the earlier link ends."""
    perform(
        request,
        member,
        lambda: invitations.resend(actor=member.actor, invitation_id=invitation_id),
        "Sent again. The earlier link no longer works.",
    )
    return redirect("members", slug=member.slug)


@require_POST
@page(Right.MEMBERS_WRITE)
def revoke(request: HttpRequest, member: MemberPrincipal, invitation_id: UUID) -> HttpResponse:
    """Take an invitation back."""
    perform(
        request,
        member,
        lambda: invitations.revoke(actor=member.actor, invitation_id=invitation_id),
        "The invitation is revoked.",
    )
    return redirect("members", slug=member.slug)


@page(Right.MEMBERS_WRITE)
def role(request: HttpRequest, member: MemberPrincipal, user_id: UUID) -> HttpResponse:
    """Give a member another role."""
    person = _find(user_id)
    form = forms.RoleForm(member.role, request.POST or None, initial={"role": person.role})
    if request.method == "POST" and form.is_valid():
        changed = attempt(
            member,
            form,
            lambda: members.change_role(
                actor=member.actor, actor_role=member.role, user_id=user_id, role=form.cleaned_data["role"]
            ),
        )
        if changed is not None:
            messages.success(request, f"{person.user.get_full_name()} is now {Role(changed.role).label.lower()}.")
            return redirect("members", slug=member.slug)
    return show(
        request, member, "web/member_role.html", "members", 422 if form.errors else 200, form=form, person=person
    )


@page(Right.MEMBERS_WRITE)
def remove(request: HttpRequest, member: MemberPrincipal, user_id: UUID) -> HttpResponse:
    """Remove a member; the keys they made end."""
    person = _find(user_id)
    if request.method == "POST":
        perform(
            request,
            member,
            lambda: members.remove(actor=member.actor, actor_role=member.role, user_id=user_id),
            f"{person.user.get_full_name()} is removed and their keys have ended.",
        )
        return redirect("members", slug=member.slug)
    return show(request, member, "web/member_remove.html", "members", person=person)


@page(Right.ORGANIZATION_READ)
def leave(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Leave the organization."""
    if request.method == "POST":
        left = perform(
            request,
            member,
            lambda: members.remove(actor=member.actor, actor_role=member.role, user_id=member.user_id),
            f"You left {member.name}.",
        )
        return redirect("home", slug=member.slug) if left is None else redirect("front")
    return show(request, member, "web/member_leave.html", "members")


def _may_change(member: MemberPrincipal, other: Membership) -> bool:
    return other.user_id != member.user_id and may_grant(member.role, Role(other.role))


def _find(user_id: UUID) -> Membership:
    found = next((one for one in selectors.members() if one.user_id == user_id), None)
    if found is None:
        raise Http404
    return found
