"""Stands pseudonyms in for what names people in an event: each is an HMAC under a key of that person's own.

What the pseudonyms stand for is kept beside the trail, where it can be erased: then the events still prove, and name
nobody.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import transaction

from capsule_cloud.lib.crypto import seal, unseal
from tenancy.audit.catalogue.action import Action
from tenancy.audit.models import AuditPerson, Json
from tenancy.scope import is_in_scope, preparing_cursor, scope

PERSONAL = frozenset({"user", "staff", "invitation", "setup_link", "end_user"})  # actors and targets that are people
ERASED = "erased person"
# Within a JSON string the quotes would be escaped: this is found nowhere but where an event was given it
PSEUDONYM = re.compile(r'\{"pseudonym":"([0-9a-f]{32})"\}')
MOST_KNOWN = 20_000
KNOWN_FOR = 600.0  # seconds: so long other processes may go on with a pseudonym whose person was erased


class Naming(NamedTuple):
    """Something that names a person of an organization: the person's kind and id, which field it is, and its value."""

    organization_id: UUID
    kind: str
    subject_id: str
    field: str
    value: str


# What this process has seen stored, with the moment until which it believes that
_known: dict[Naming, tuple[str, float]] = {}


def stand_in(organization_id: UUID, action: Action, said: Json) -> Mapping[str, str]:
    """Replace what names people in an event with pseudonyms; returns what each pseudonym stands for.

    `said` is what services builds. Names of people: labels of actors and targets that are people; an end user's id,
    which the customer chose; address and program of an actor who is a person, or is not known and acts on one; the
    fields that the action declares.
    """
    names = _Names(organization_id)
    actor, target, origin = said["actor"], said["target"], said["context"]
    who, whom = _person(actor), _person(target)
    if who:
        said["actor"] = _party(names, actor, who)
    # whoever fails to sign in as somebody is mostly that somebody
    if there := who or (whom if actor.kind == "unknown" else None):
        places = {field: names.place(*there, field, getattr(origin, field)) for field in ("ip", "user_agent")}
        said["context"] = {"request_id": origin.request_id, **places, "session_id": origin.session_id}
    if whom:
        said["target"] = _party(names, target, whom)
    of_metadata, of_changes = action.personal, action.personal_changes
    if of_metadata:
        said["metadata"] = {
            field: _field(names, of_metadata.get(field), whom or who, field, value)
            for field, value in said["metadata"].items()
        }
    if of_changes and "changes" in said:
        said["changes"] = {
            field: [_field(names, of_changes.get(field), whom or who, field, one) for one in pair]
            for field, pair in said["changes"].items()
        }
    names.settle()
    return names.values


def revealed(body: str, names: Mapping[str, str]) -> str:
    """A body for people's eyes: with the values in place of their pseudonyms, or ERASED. It proves nothing."""
    return PSEUDONYM.sub(lambda found: orjson.dumps(names.get(found[1], ERASED)).decode(), body)


def person_kind(kind: str) -> str:
    """The kind of a person: our staff are users too."""
    return "user" if kind == "staff" else kind


def _person(party: Any) -> tuple[str, str] | None:
    # a command of ours that acts for staff has no id, and is nobody
    return (person_kind(party.kind), party.id) if party.kind in PERSONAL and party.id else None


def _party(names: "_Names", party: Any, person: tuple[str, str]) -> Json:
    name = names.place(*person, "id", party.id) if party.kind == "end_user" else party.id
    return {"kind": party.kind, "id": name, "label": names.place(*person, "label", party.label)}


def _field(names: "_Names", kind: str | None, whom: tuple[str, str] | None, field: str, value: Any) -> Any:
    if kind is None or not isinstance(value, str):
        return value
    if kind == "end_user":
        return names.place(kind, value, "id", value)
    return names.place(*whom, field, value) if whom else value


class _Names:
    """The pseudonyms of one event: `place` gives what to write, `settle` makes it true before the event is written."""

    def __init__(self, organization_id: UUID) -> None:
        self.organization_id = organization_id
        self.values: dict[str, str] = {}
        self._open: dict[Naming, dict[str, str]] = {}

    def place(self, kind: str, subject_id: str, field: str, value: str) -> Any:
        """`{"pseudonym": …}` for the value; the value itself where it is empty."""
        if not value:
            return value
        value = value.replace("\0", "\ufffd")  # PostgreSQL takes it for no text
        naming = Naming(self.organization_id, kind, subject_id, field, value)
        pseudonym, until = _known.get(naming, ("", 0.0))
        if until > time.monotonic():
            self.values[pseudonym] = value
            return {"pseudonym": pseudonym}
        return self._open.setdefault(naming, {"pseudonym": ""})

    def settle(self) -> None:
        """Fill the places that are still empty: store what this process does not know to be stored."""
        if self._open:
            found = _introduce(self.organization_id, list(self._open))
            for naming, place in self._open.items():
                place["pseudonym"] = found[naming]
                self.values[found[naming]] = naming.value


def forget(organization_id: UUID, kind: str, subject_id: str) -> None:
    """Let this process no longer know a person's pseudonyms."""
    for naming in [one for one in list(_known) if one[:3] == (organization_id, kind, subject_id)]:
        _known.pop(naming, None)


def pseudonym(key: bytes, field: str, value: str) -> str:
    """HMAC-SHA-256 of `field|value` under a person's key, its first 16 bytes as hex."""
    return hmac.new(key, f"{field}|{value}".encode(), hashlib.sha256).hexdigest()[:32]


def _introduce(organization_id: UUID, namings: Sequence[Naming]) -> dict[Naming, str]:
    """The pseudonyms of these, stored; of one person the same always, until they are erased."""
    with nullcontext() if is_in_scope(organization_id) else scope(organization_id):
        keys = _keys(organization_id, {(one.kind, one.subject_id) for one in namings})
        found = {one: pseudonym(keys[one.kind, one.subject_id][1], one.field, one.value) for one in namings}
        with preparing_cursor() as cursor:
            # Two transactions may store the same one: a unique index would let the second wait for the end of the first
            cursor.execute(
                "INSERT INTO audit_auditidentifier (id, organization_id, person_id, pseudonym, field, value) "
                "SELECT uuidv7(), %s, n.person_id, n.pseudonym, n.field, n.value "
                "FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[]) AS n(person_id, pseudonym, field, value) "
                "WHERE NOT EXISTS (SELECT FROM audit_auditidentifier i "
                "WHERE i.organization_id = %s AND i.pseudonym = n.pseudonym)",
                [
                    organization_id,
                    [keys[one.kind, one.subject_id][0] for one in namings],
                    [UUID(found[one]) for one in namings],
                    [one.field for one in namings],
                    [one.value for one in namings],
                    organization_id,
                ],
            )
        transaction.on_commit(lambda: _remember(found))
    return found


def _keys(organization_id: UUID, people: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[UUID, bytes]]:
    """Each person's row and key; who has none gets one. A person who is being erased is waited for, and is new then."""
    wanted = sorted(people)
    with preparing_cursor() as cursor:
        cursor.execute(
            "SELECT p.kind, p.subject_id, p.id, p.key FROM audit_auditperson p "
            "WHERE p.organization_id = %s "
            "AND (p.kind, p.subject_id) IN (SELECT * FROM unnest(%s::text[], %s::text[])) "
            "ORDER BY p.id DESC FOR KEY SHARE",
            [organization_id, [kind for kind, _ in wanted], [subject for _, subject in wanted]],
        )
        # where two transactions met a person first there are two keys, and the first of them is used from then on
        keys = {(kind, subject): (person, unseal(key)) for kind, subject, person, key in cursor.fetchall()}
    for kind, subject in wanted:
        if (kind, subject) not in keys:
            key = secrets.token_bytes(32)
            new = AuditPerson(organization_id=organization_id, kind=kind, subject_id=subject, key=seal(key))
            new.save(force_insert=True)
            keys[kind, subject] = (new.pk, key)
    return keys


def _remember(found: Mapping[Naming, str]) -> None:
    if len(_known) > MOST_KNOWN:
        _known.clear()
    until = time.monotonic() + KNOWN_FOR
    _known.update({naming: (one, until) for naming, one in found.items()})
