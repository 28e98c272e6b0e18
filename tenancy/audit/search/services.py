"""Keeps searches of the audit log under a name, of one's own or for everybody who may read it."""

from collections.abc import Mapping
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from tenancy.audit import actions
from tenancy.audit.search.models import SavedView
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.scope import current_organization_id

FILTERS = {  # what can be kept, and how long it may be
    "action": 400,
    "actor": 255,
    "target": 255,
    "ip": 45,
    "text": 255,
    "is_failure": 4,
    "is_staff": 4,
    "since": 32,
    "until": 32,
}
MOST_VIEWS = 200  # of an organization


def views(actor: Actor) -> list[SavedView]:
    """Those that are shared, and the actor's own, by name."""
    return sorted(_seen_by(actor), key=lambda one: (one.name.lower(), one.pk))


def view(view_id: UUID, actor: Actor) -> SavedView:
    """One that the actor sees. Raises NotFound."""
    found = _seen_by(actor).filter(pk=view_id).first()
    if found is None:
        raise NotFound("There is no such saved view.")
    return found


@transaction.atomic
def save(*, actor: Actor, name: str, filters: Mapping[str, str], is_shared: bool) -> SavedView:
    """Keep a search; under a name that the actor has used before it replaces that one, if it is their own.

    What an API key keeps is shared. Raises Invalid, and Conflict when there are MOST_VIEWS.
    """
    title = name.strip()
    if not title or len(title) > 64 or "\0" in title:
        raise Invalid("name", "Give it a name of at most 64 characters.")
    kept = _kept(filters)
    shared = is_shared or actor.kind != "user"
    owner_id = UUID(actor.id) if actor.kind == "user" else None
    old = SavedView.objects.filter(owner_id=owner_id, name=title).first()
    if old:
        changes = actions.VIEW_UPDATED.change(old, {"filters": kept, "is_shared": shared})
        if changes:
            old.save(update_fields=list(changes))
            record(action=actions.VIEW_UPDATED, actor=actor, target=_target(old), changes=changes)
        return old
    if SavedView.objects.count() >= MOST_VIEWS:
        raise Conflict(f"An organization keeps at most {MOST_VIEWS} searches: delete one first.")
    made = SavedView.objects.create(
        organization_id=current_organization_id(), name=title, filters=kept, owner_id=owner_id, is_shared=shared
    )
    record(action=actions.VIEW_SAVED, actor=actor, target=_target(made), metadata={"is_shared": shared})
    return made


@transaction.atomic
def delete(*, actor: Actor, view_id: UUID) -> None:
    """Forget a search that the actor sees: a shared one is everybody's. Raises NotFound."""
    old = view(view_id, actor)
    record(action=actions.VIEW_DELETED, actor=actor, target=_target(old), metadata={"is_shared": old.is_shared})
    old.delete()


def _seen_by(actor: Actor) -> QuerySet[SavedView]:
    seen = Q(is_shared=True)
    if actor.kind == "user":
        seen |= Q(owner_id=UUID(actor.id))
    return SavedView.objects.filter(seen)


def _kept(filters: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value.strip() for name, value in filters.items() if value.strip()}
    if unknown := kept.keys() - FILTERS.keys():
        raise Invalid("filters", f"There is no filter {min(unknown)}.")
    for name, value in kept.items():
        if len(value) > FILTERS[name] or "\0" in value:
            raise Invalid("filters", f"{name} has at most {FILTERS[name]} characters.")
    if not kept:
        raise Invalid("filters", "Choose at least one filter first.")
    return kept


def _target(one: SavedView) -> Target:
    return Target("audit_view", str(one.pk), one.name)
