"""Members and invitations."""

from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from capsule_cloud.web import forms
from capsule_cloud.web.console import attempt, page, perform, show
from tenancy import selectors
from tenancy.access import MemberPrincipal
from tenancy.groups import selectors as groups
from tenancy.models import Invitation, Membership
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
        managed=groups.managed(one.user_id for one, _ in listed),
        invitations=selectors.open_invitations(),
        limit=selectors.organization().member_limit,
    )


@page(Right.MEMBERS_WRITE)
def invite(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Invite somebody by e-mail."""
    form = forms.InvitationForm(member.role, request.POST or None, initial={"role": Role.MEMBER})
    made = attempt(
        member, form, lambda: invitations.create(actor=member.actor, actor_role=member.role, **form.cleaned_data)
    )
    if made is None:
        return show(request, member, "web/member_invite.html", "members", form=form)
    messages.success(request, f"{made.email} is invited. The link works for 7 days.")
    return redirect("members", slug=member.slug)


@require_POST
@page(Right.MEMBERS_WRITE)
def resend(request: HttpRequest, member: MemberPrincipal, invitation_id: UUID) -> HttpResponse:
    """Mail an invitation again; the earlier link ends."""
    return _again(request, member, invitations.resend, invitation_id, "Sent again. The earlier link no longer works.")


@require_POST
@page(Right.MEMBERS_WRITE)
def revoke(request: HttpRequest, member: MemberPrincipal, invitation_id: UUID) -> HttpResponse:
    """Take an invitation back."""
    return _again(request, member, invitations.revoke, invitation_id, "The invitation is revoked.")


@page(Right.MEMBERS_WRITE)
def role(request: HttpRequest, member: MemberPrincipal, user_id: UUID) -> HttpResponse:
    """Give a member another role."""
    person = _find(user_id)
    form = forms.RoleForm(member.role, request.POST or None, initial={"role": person.role})
    changed = attempt(
        member,
        form,
        lambda: members.change_role(
            actor=member.actor, actor_role=member.role, user_id=user_id, role=form.cleaned_data["role"]
        ),
    )
    if changed is None:
        is_managed = bool(groups.managed([user_id]))
        return show(request, member, "web/member_role.html", "members", form=form, person=person, is_managed=is_managed)
    messages.success(request, f"{person.user.get_full_name()} is now {Role(changed.role).label.lower()}.")
    return redirect("members", slug=member.slug)


@page(Right.MEMBERS_WRITE)
def remove(request: HttpRequest, member: MemberPrincipal, user_id: UUID) -> HttpResponse:
    """Remove a member; the keys they made end."""
    person = _find(user_id)
    if request.method != "POST":
        return show(request, member, "web/member_remove.html", "members", person=person)
    _end(request, member, user_id, f"{person.user.get_full_name()} is removed and their keys have ended.")
    return redirect("members", slug=member.slug)


@page(Right.ORGANIZATION_READ)
def leave(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Leave the organization."""
    if request.method != "POST":
        return show(request, member, "web/member_leave.html", "members")
    has_left = _end(request, member, member.user_id, f"You left {member.name}.")
    return redirect("front") if has_left else redirect("home", slug=member.slug)


def _again(
    request: HttpRequest, member: MemberPrincipal, change: Callable[..., Invitation], invitation_id: UUID, done: str
) -> HttpResponse:
    perform(request, member, lambda: change(actor=member.actor, invitation_id=invitation_id), done)
    return redirect("members", slug=member.slug)


def _end(request: HttpRequest, member: MemberPrincipal, user_id: UUID, done: str) -> bool:
    ended = perform(
        request, member, lambda: members.remove(actor=member.actor, actor_role=member.role, user_id=user_id), done
    )
    return ended is not None


def _may_change(member: MemberPrincipal, other: Membership) -> bool:
    return other.user_id != member.user_id and may_grant(member.role, Role(other.role))


def _find(user_id: UUID) -> Membership:
    found = next((one for one in selectors.members() if one.user_id == user_id), None)
    if found is None:
        raise Http404
    return found
