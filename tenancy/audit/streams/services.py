"""Writes streams of the organization in scope, and sends them tests, replays and events that were set aside."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import uuid_utils.compat as uuid_utils
from django.utils import timezone

from capsule_cloud.lib import crypto
from capsule_cloud.lib.jobs import enqueue
from tenancy.audit import actions
from tenancy.audit.sealing import selectors as sealed
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.selectors import first_id
from tenancy.audit.services import Actor, record
from tenancy.audit.streams import batches, kinds, parcels, progress, selectors
from tenancy.audit.streams.models import DeadLetter, Delivery, Kind, Stream
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.scope import scope
from tenancy.services import organizations
from tenancy.webhooks import signing
from tenancy.webhooks.services import DEFAULT_OVERLAP, MAX_OVERLAP

MOST_STREAMS = 10


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A stream and the secret that signs what it is sent, where it is a webhook: shown once."""

    stream: Stream
    secret: str


def create(
    *,
    actor: Actor,
    name: str,
    kind: str,
    options: Mapping[str, str],
    secrets: Mapping[str, str],
    has_ocsf: bool = False,
    has_people: bool = True,
    from_beginning: bool = False,
) -> NewSecret:
    """A stream of what is sealed from now on, or of all that there is. Raises Invalid or LimitReached."""
    organizations.locked()
    if Stream.objects.count() >= MOST_STREAMS:
        raise LimitReached(f"There are {MOST_STREAMS} streams: delete one first.")
    told, hidden = kinds.checked(kind, options, secrets)
    keys = signing.new_keys() if kind == Kind.HTTPS else None
    stream = Stream.objects.create(
        id=uuid_utils.uuid7(),
        name=_clean_name(name),
        kind=kind,
        options=told,
        sealed_secrets=crypto.seal(orjson.dumps(hidden)),
        sealed_keys=signing.seal(keys) if keys else None,
        has_ocsf=has_ocsf,
        has_people=has_people,
        next_seq=0 if from_beginning else sealed.sealed_size(),
    )
    said = {"kind": kind, "place": stream.place, "next_seq": stream.next_seq}
    record(action=actions.STREAM_CREATED, actor=actor, target=progress.target(stream), metadata=said)
    enqueue("audit_streams.deliver")
    return NewSecret(stream, keys.secret_text if keys else "")


def update(
    *,
    actor: Actor,
    stream_id: UUID,
    name: str | None = None,
    options: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    has_ocsf: bool | None = None,
    has_people: bool | None = None,
) -> Stream:
    """Change a stream; None leaves a part as it is, and so does an empty secret. Raises NotFound or Invalid.

    Where it leads cannot change without its secrets: else one that may not see them could have them sent elsewhere.
    """
    stream = _locked(stream_id)
    given = {key: value for key, value in (secrets or {}).items() if value}
    wanted = dict(stream.options) if options is None else {key: text for key, text in options.items() if text.strip()}
    is_moved = wanted != stream.options
    known = parcels.secrets_of(stream)
    if is_moved and (missing := [one for one in known if not given.get(one)]):
        raise Invalid(missing[0], "Give the secrets again: the stream leads elsewhere now.")
    told, hidden = kinds.checked(stream.kind, wanted, {**known, **given})
    asked: dict[str, Any] = {
        "name": None if name is None else _clean_name(name),
        "options": told,
        "has_ocsf": has_ocsf,
        "has_people": has_people,
    }
    was = _shown(stream.options)
    changes = actions.STREAM_UPDATED.change(stream, {key: value for key, value in asked.items() if value is not None})
    if "options" in changes:
        changes["options"] = [was, _shown(told)]
    if given:
        changes |= actions.STREAM_UPDATED.changed({"secrets": "old"}, {"secrets": "new"})
        stream.sealed_secrets = crypto.seal(orjson.dumps(hidden))
    if changes:
        stream.save()
        record(action=actions.STREAM_UPDATED, actor=actor, target=progress.target(stream), changes=changes)
    return stream


def pause(*, actor: Actor, stream_id: UUID) -> Stream:
    """Send a stream nothing for a while; its place is kept. Raises NotFound."""
    stream = _locked(stream_id)
    if stream.state == Stream.State.ACTIVE:
        _move(stream, Stream.State.PAUSED, actions.STREAM_PAUSED, actor)
    return stream


def resume(*, actor: Actor, stream_id: UUID) -> Stream:
    """Let a stream go on where it was; one that fails is tried at once. Raises NotFound."""
    stream = _locked(stream_id)
    stream.failures, stream.failing_since, stream.due_at = 0, None, timezone.now()
    stream.refusals = stream.set_aside_in_row = 0
    stream.save()
    if stream.state != Stream.State.ACTIVE:
        _move(stream, Stream.State.ACTIVE, actions.STREAM_RESUMED, actor)
    enqueue("audit_streams.deliver")
    return stream


def delete(*, actor: Actor, stream_id: UUID) -> None:
    """Delete a stream with its secrets and its log. Raises NotFound."""
    stream = _locked(stream_id)
    gone, said = progress.target(stream), {"kind": stream.kind, "place": stream.place}
    stream.delete()
    record(action=actions.STREAM_DELETED, actor=actor, target=gone, metadata=said)


def rotate(*, actor: Actor, stream_id: UUID, overlap: timedelta = DEFAULT_OVERLAP) -> NewSecret:
    """Give a webhook a new secret; until the overlap is over, everything is signed with both.

    An overlap of none ends the old secret at once. Raises NotFound, Invalid, or Conflict for other kinds, and while the
    secret before the last still signs.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise Invalid("overlap", "Choose an overlap of 0 seconds to 7 days.")
    stream = _locked(stream_id)
    if stream.kind != Kind.HTTPS:
        raise Conflict("Only webhooks are signed by us. Of others, make a new token there, and change it here.")
    if overlap and stream.has_two_secrets:
        raise Conflict("The secret was rotated lately, and the one before it still signs: wait, or choose no overlap.")
    keys = signing.new_keys()
    stream.sealed_previous = stream.sealed_keys if overlap else None
    stream.previous_until = timezone.now() + overlap if overlap else None
    stream.sealed_keys = signing.seal(keys)
    stream.save(update_fields=["sealed_keys", "sealed_previous", "previous_until"])
    action = actions.STREAM_SECRET_ROTATED
    said = {"overlap_seconds": int(overlap.total_seconds())}
    changes = action.changed({"secret": "old"}, {"secret": "new"})
    record(action=action, actor=actor, target=progress.target(stream), metadata=said, changes=changes)
    return NewSecret(stream, keys.secret_text)


def replay(*, actor: Actor, stream_id: UUID, seq: int | None = None, since: datetime | None = None) -> Stream:
    """Go on from a place of the trail, or from the first event of a moment: back to send again, or forth to leave out.

    What is on its way meanwhile arrives, and does not move the stream. Raises NotFound or Invalid.
    """
    stream = _locked(stream_id)
    size = sealed.sealed_size()
    if (seq is None) == (since is None):
        raise Invalid("seq", "Give either a place or a moment.")
    if seq is None and since is not None:
        later = Leaf.objects.filter(event_id__gte=first_id(since)).order_by("seq").values_list("seq", flat=True)
        seq = later.first()
        seq = size if seq is None else seq
    if seq is None or not 0 <= seq <= size:
        raise Invalid("seq", f"Choose a place from 0 to {size}.")
    said = {"from_seq": stream.next_seq, "to_seq": seq}
    stream.next_seq, stream.turn, stream.leased_until, stream.due_at = seq, uuid4(), None, timezone.now()
    stream.refusals, stream.most_events = 0, None
    stream.proved_size = stream.proved_size if seq >= stream.proved_size else 0
    stream.save()
    record(action=actions.STREAM_REPLAYED, actor=actor, target=progress.target(stream), metadata=said)
    enqueue("audit_streams.deliver")
    return stream


def test(*, actor: Actor, organization_id: UUID, stream_id: UUID) -> Delivery:
    """Send a sentence that is no event, whatever the stream's state; returns what came of it.

    It opens its own scopes: no transaction may be open. Raises NotFound.
    """
    with scope(organization_id):
        made = parcels.test_parcel(selectors.found(stream_id))
    told = _send(made)
    with scope(organization_id):
        stream = selectors.found(stream_id)
        row = progress.write_down(stream, Delivery.Reason.TEST, 0, 0, told)
        said = {"worked": told.outcome.has_arrived}
        record(action=actions.STREAM_TESTED, actor=actor, target=progress.target(stream), metadata=said)
    return row


def resend(*, actor: Actor, organization_id: UUID, letter_id: UUID) -> Delivery:
    """Send an event that was set aside once more, out of order; returns what came of it.

    It opens its own scopes: no transaction may be open. Raises NotFound, or Conflict where the event has left.
    """
    with scope(organization_id):
        letter = selectors.dead_letter(letter_id)
        batch = batches.batch_of(letter.stream, letter.seq)
        if batch is None:
            raise Conflict("The event has left by its retention.")
        made = parcels.parcel(letter.stream, batch)
    told = _send(made)
    with scope(organization_id):
        letter = selectors.dead_letter(letter_id)
        row = progress.write_down(letter.stream, Delivery.Reason.RESEND, letter.seq, 1, told)
        if told.outcome.has_arrived:
            DeadLetter.objects.filter(pk=letter_id).update(resent_at=timezone.now())
        said = {"seq": letter.seq, "worked": told.outcome.has_arrived}
        record(action=actions.STREAM_RESENT, actor=actor, target=progress.target(letter.stream), metadata=said)
    return row


def _send(made: parcels.Parcel) -> progress.Told:
    started_at, started = timezone.now(), time.monotonic()
    outcome = made.send()
    return progress.Told(made.bytes, started_at, int((time.monotonic() - started) * 1000), outcome)


def _locked(stream_id: UUID) -> Stream:
    stream = Stream.objects.select_for_update(no_key=True).filter(pk=stream_id).first()
    if stream is None:
        raise NotFound("There is no such stream.")
    return stream


def _move(stream: Stream, state: Stream.State, action: actions.Action, actor: Actor) -> None:
    changes = action.change(stream, {"state": state})
    stream.state_reason, stream.state_since = "", timezone.now()
    stream.save()
    record(action=action, actor=actor, target=progress.target(stream), changes=changes)


def _shown(options: Mapping[str, str]) -> dict[str, str]:
    """Without the query of an address, which may be a secret."""
    return {name: value.partition("?")[0] if name == "url" else value for name, value in options.items()}


def _clean_name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 64 or "\0" in name:
        raise Invalid("name", "Write a name of 1 to 64 characters.")
    return name
