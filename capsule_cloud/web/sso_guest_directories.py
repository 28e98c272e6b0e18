"""Directories that whoever has a setup link prepares: switched off until a member lets them write."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from capsule_cloud.web import once
from capsule_cloud.web.directories import ONCE, base_url
from capsule_cloud.web.directory_forms import DirectoryForm
from capsule_cloud.web.directory_guides import GUIDES
from capsule_cloud.web.sso_visitors import Visitor, for_guests
from tenancy.errors import NotFound
from tenancy.roles import Role
from tenancy.scim.directories import selectors, services
from tenancy.scim.directories.services import NewToken
from tenancy.scim.models import Directory


class GuestDirectoryForm(DirectoryForm):
    """A new directory; whom it brings are viewers until a member decides otherwise."""

    def __init__(self, data: object = None) -> None:
        super().__init__(Role.VIEWER, data)
        del self.fields["default_role"]


@for_guests
def new(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Prepare a directory, then show its token once."""
    form = GuestDirectoryForm(request.POST or None)
    made = visitor.attempt(form, lambda: _prepare(visitor, **form.cleaned_data))
    if made is None:
        return visitor.show(request, "web/sso_guest_directory_new.html", form=form)
    directory, token = made
    once.keep(request, ONCE, directory.pk, token.secret)
    return redirect("sso_setup_directory", directory_id=directory.pk)


def _prepare(visitor: Visitor, name: str, kind: str) -> tuple[Directory, NewToken]:
    """Add it switched off, in one transaction: it writes nothing before a member wants that."""
    role = Role.VIEWER
    made = services.add(actor=visitor.actor, actor_role=Role.ADMIN, name=name, kind=kind, default_role=role)
    services.change(
        actor=visitor.actor,
        actor_role=Role.ADMIN,
        directory_id=made[0].pk,
        name=name,
        kind=kind,
        default_role=role,
        keys_go_to=None,
        is_on=False,
    )
    return made


@require_safe
@for_guests
def detail(request: HttpRequest, visitor: Visitor, directory_id: UUID) -> HttpResponse:
    """What to copy there, in the words of its console; the token on the first look alone."""
    try:
        directory = selectors.directory(directory_id)
    except NotFound:
        raise Http404 from None
    context: dict[str, Any] = {
        "directory": directory,
        "base_url": base_url(),
        "secret": once.take(request, ONCE, directory_id),
        "steps": GUIDES[directory.kind],
    }
    return visitor.show(request, "web/sso_guest_directory.html", **context)
