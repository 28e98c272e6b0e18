"""Asks for exports of the organization in scope, cancels and deletes them, and notes who took their files."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuid_utils
from django.utils import timezone

from capsule_cloud.lib.jobs import enqueue
from tenancy.audit import actions
from tenancy.audit.exports import selectors, targets
from tenancy.audit.exports.models import UNDER_WAY, WRITTEN, Compression, Export, Format
from tenancy.audit.exports.turns import target_of
from tenancy.audit.services import Actor, record
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.services import organizations

MOST_UNDER_WAY = 20


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of the trail, and as what; `action`, `actor` and `target` choose as search does."""

    form: str = Format.JSONL
    compression: str = Compression.NONE
    action: str = ""
    actor: str = ""
    target: str = ""
    has_people: bool = True

    def columns(self) -> dict[str, Any]:
        """As models keep it. Raises Invalid for what no export can be."""
        if self.form not in Format.values:
            raise Invalid("format", f"Choose one of {', '.join(Format.values)}.")
        if self.compression not in Compression.values:
            raise Invalid("compression", f"Choose one of {', '.join(Compression.values)}.")
        for name, text, most in (("action", self.action, 64), ("actor", self.actor, 254), ("target", self.target, 254)):
            if "\0" in text or len(text) > most:
                raise Invalid(name, f"Write at most {most} characters.")
        return {
            "format": self.form,
            "compression": Compression.NONE if self.form == Format.PARQUET else self.compression,
            "action": self.action,
            "actor": self.actor,
            "on": self.target,
            "has_people": self.has_people,
        }


def request(
    *,
    actor: Actor,
    wish: Wish,
    since: datetime | None = None,
    until: datetime | None = None,
    target_id: UUID | None = None,
) -> Export:
    """Ask for an export of what is sealed when it begins; it is put into a store where one is named.

    Raises Invalid, NotFound for a store that is not there, or LimitReached.
    """
    organizations.locked()
    if Export.objects.filter(state__in=UNDER_WAY).count() >= MOST_UNDER_WAY:
        raise LimitReached(f"{MOST_UNDER_WAY} exports are under way: wait for one, or cancel one.")
    if since and until and since >= until:
        raise Invalid("until", "The end comes after the beginning.")
    pk = uuid_utils.uuid7()
    export = Export.objects.create(
        id=pk,
        label=label(timezone.now(), pk),
        folder=new_folder(),
        since=since,
        until=until,
        target=targets.get(target_id) if target_id else None,
        created_by={"kind": actor.kind, "id": actor.id},
        **wish.columns(),
    )
    said = {"format": export.format, "filters": words_of(export)}
    record(action=actions.EXPORT_REQUESTED, actor=actor, target=target_of(export), metadata=said)
    enqueue("audit_exports.write")
    return export


def label(moment: datetime, pk: UUID) -> str:
    """What an export's files are called, without an ending."""
    return f"audit-{moment:%Y%m%dT%H%M%SZ}-{pk.hex[-8:]}"


def new_folder() -> str:
    """A place in the store that nobody can guess."""
    return secrets.token_hex(24)


def words_of(export: Export) -> dict[str, str]:
    """What is asked for, in words."""
    times = {"since": export.since, "until": export.until}
    return {**export.filters, **{name: moment.isoformat() for name, moment in times.items() if moment}}


def cancel(*, actor: Actor, export_id: UUID) -> Export:
    """Stop an export; who writes it stops within seconds. Raises NotFound, or Conflict for one that is written."""
    export = _locked(export_id)
    if export.state in WRITTEN:
        raise Conflict("It is written already: delete it if nobody should have it.")
    if export.state in UNDER_WAY:
        export.state, export.leased_until = Export.State.CANCELLED, None
        export.save(update_fields=["state", "leased_until"])
        record(action=actions.EXPORT_CANCELLED, actor=actor, target=target_of(export))
    return export


def delete(*, actor: Actor, export_id: UUID) -> Export:
    """Take an export back before its time: its files are deleted within minutes, nobody gets them from now on.

    Raises NotFound, or Conflict for one that is not written.
    """
    export = _locked(export_id)
    if export.state not in WRITTEN:
        raise Conflict("It has no files.")
    export.expires_at = timezone.now()
    export.save(update_fields=["expires_at"])
    record(action=actions.EXPORT_DELETED, actor=actor, target=target_of(export))
    enqueue("audit_exports.tidy")
    return export


def send_again(*, actor: Actor, export_id: UUID) -> Export:
    """Put an export into its store once more. Raises NotFound, or Conflict."""
    export = _locked(export_id)
    if export.state not in WRITTEN or export.target_id is None or not selectors.is_offered(export):
        raise Conflict("There is nothing to send: it has no store, or no files.")
    export.state, export.attempts, export.due_at, export.sent_at = Export.State.SENDING, 0, timezone.now(), None
    export.save(update_fields=["state", "attempts", "due_at", "sent_at"])
    record(action=actions.EXPORT_SENT_AGAIN, actor=actor, target=target_of(export))
    enqueue("audit_exports.write")
    return export


def note_download(*, actor: Actor, export: Export, name: str) -> None:
    """Write down that somebody takes a file of an export."""
    record(action=actions.EXPORT_DOWNLOADED, actor=actor, target=target_of(export), metadata={"file": name})


def _locked(export_id: UUID) -> Export:
    export = Export.objects.select_for_update(no_key=True).filter(pk=export_id).first()
    if export is None:
        raise NotFound("There is no such export.")
    return export
