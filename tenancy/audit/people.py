"""Tells whom the pseudonyms in events stand for, and erases people."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import TextChoices

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent, AuditIdentifier, AuditPerson
from tenancy.audit.pseudonyms import ERASED, PSEUDONYM, forget, person_kind, revealed
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import NotFound
from tenancy.scope import current_organization_id

__all__ = ["ERASED", "PersonKind", "erase", "ids_like", "known_as", "names_in", "reveal", "revealed"]


class PersonKind(TextChoices):
    """Who can be erased, as events have it under actor or target; our staff are users, too."""

    USER = "user", "A member or former member"
    END_USER = "end_user", "An end user"
    INVITATION = "invitation", "Somebody invited"
    SETUP_LINK = "setup_link", "Somebody with a link to set up single sign-on"


def names_in(bodies: Iterable[str]) -> dict[str, str]:
    """What the pseudonyms in these bodies stand for, in the organization in scope; the erased are left out."""
    wanted = {UUID(found) for body in bodies for found in PSEUDONYM.findall(body)}
    if not wanted:
        return {}
    rows = AuditIdentifier.objects.filter(pseudonym__in=wanted).values_list("pseudonym", "value")
    return {pseudonym.hex: value for pseudonym, value in rows}


def reveal(events: Iterable[AuditEvent]) -> list[AuditEvent]:
    """Let these events say whom they are about, with one query for all; bodies stay as they are. Returns them."""
    found = list(events)
    names = names_in(event.body for event in found)
    for event in found:
        event.reveal(revealed(event.body, names))
    return found


def ids_like(text: str) -> tuple[set[str], set[str]]:
    """Whom a text names, or a part of a name: ids for `actor_id` and `target_id`, whatever the letters' case.

    The first are of people with such a label. The second are what `target_id` holds in place of an end user's own id.
    """
    found = AuditIdentifier.objects.filter(field__in=["label", "id"], value__icontains=text)
    rows = list(found.values_list("field", "pseudonym", "person__kind", "person__subject_id"))
    labelled = {subject for _, _, kind, subject in rows if kind != "end_user"}
    return labelled, {pseudonym.hex for field, pseudonym, _, _ in rows if field == "id"}


def known_as(text: str) -> list[tuple[str, str, str, str]]:
    """Whom the trail of the organization in scope knows by a text or a part of it: kind, id, field and value."""
    found = AuditIdentifier.objects.filter(value__icontains=text).order_by("person_id", "field", "value")
    return list(found.values_list("person__kind", "person__subject_id", "field", "value"))


def erase(*, kind: str, subject_id: str, actor: Actor, reason: str) -> int:
    """Erase what the trail of the organization in scope keeps of a person: how many names, addresses and programs.

    `kind` and `subject_id` are those of the events' actor or target. Events stay, and prove what they did: they say
    "erased person". It cannot be undone. What the person does later is recorded anew. Raises NotFound for nobody.
    """
    kind = person_kind(kind)
    people = AuditPerson.objects.filter(kind=kind, subject_id=subject_id)
    ids = list(people.select_for_update().values_list("pk", flat=True))
    if not ids:
        raise NotFound("The trail knows nobody by this kind and id.")
    erased, _ = AuditIdentifier.objects.filter(person__in=ids).delete()
    people.filter(pk__in=ids).delete()
    forget(current_organization_id(), kind, subject_id)
    record(
        action=actions.PERSON_ERASED,
        actor=actor,
        # an end user's id is a name that the customer chose: it is what was erased
        target=Target("erased_person", "" if kind == "end_user" else subject_id, ""),
        metadata={"kind": kind, "erased": erased},
        reason=reason,
    )
    return erased
