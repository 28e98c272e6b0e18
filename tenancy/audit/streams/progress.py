"""Moves a stream's cursor with what came of a batch, backs off from a target that fails, and stops where that is due.

Every function wants the stream's organization in scope.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import timezone

from tenancy import letters
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.audit.streams.batches import Batch
from tenancy.audit.streams.models import DeadLetter, Delivery, Stream
from tenancy.audit.streams.outcomes import Outcome, Verdict
from tenancy.models import Organization
from tenancy.roles import Right
from tenancy.webhooks import catalogue, events

PAUSES = (5, 15, 60, 120, 300, 600)  # seconds after a failure, up to a fifth more; the last one again and again
PAUSE_AFTER, LEAST_FAILURES = timedelta(days=1), 10  # a stream that fails so long is paused
MOST_REFUSALS = 3  # of one event alone: then it is set aside
MOST_ASIDE_IN_ROW = 10  # a target that refuses so many, and takes none, refuses everything
STORE_EVERY = timedelta(seconds=60)  # files of a store, unless one is full
SPLIT = 10  # a batch that is refused becomes so much smaller, until the event is found
OUR_FAULT_PAUSE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one attempt."""

    bytes: int
    started_at: datetime
    milliseconds: int
    outcome: Outcome


def target(stream: Stream) -> Target:
    """A stream as an audit target."""
    return Target("audit_stream", str(stream.pk), stream.name)


def write_down(stream: Stream, reason: str, first: int, count: int, told: Told) -> Delivery:
    """A row of the log."""
    outcome = told.outcome
    return Delivery.objects.create(
        stream=stream,
        reason=reason,
        first=first,
        count=count,
        bytes=told.bytes,
        started_at=told.started_at,
        milliseconds=told.milliseconds,
        status=outcome.status,
        code=outcome.code,
        sentence=outcome.sentence,
        answer="" if outcome.has_arrived else outcome.answer,
        has_arrived=outcome.has_arrived,
    )


def settle(stream: Stream, batch: Batch, told: Told, *, keep: timedelta | None) -> bool:
    """Write down what came of a batch of a stream that is locked; with `keep` the worker goes on for so long.

    Returns whether it does: where nothing stands against it.
    """
    now = timezone.now()
    write_down(stream, Delivery.Reason.BATCH, batch.first, batch.count, told)
    stream.leased_until, stream.due_at = None, now
    outcome = told.outcome
    if outcome.verdict is Verdict.ARRIVED:
        _advance(stream, batch, now)
        if keep:
            stream.leased_until = now + keep
        elif stream.is_store and not batch.has_more:
            stream.due_at = now + STORE_EVERY
    elif outcome.verdict is Verdict.REFUSED:
        _refuse(stream, batch, outcome, now)
    else:
        _fail(stream, outcome, now)
    stream.save()
    return stream.leased_until is not None


def release(stream: Stream) -> None:
    """Nothing is there to send."""
    Stream.objects.filter(pk=stream.pk, turn=stream.turn).update(leased_until=None, due_at=timezone.now())


def pass_over(stream: Stream, batch: Batch) -> None:
    """Leave out events that have left by their retention before they could be sent."""
    sentence = f"{batch.count} events had left by their retention before they could be sent."
    told = Told(0, timezone.now(), 0, Outcome(Verdict.FAILED, sentence, code="expired"))
    if Stream.objects.filter(pk=stream.pk, turn=stream.turn, next_seq=batch.first).update(
        next_seq=batch.end, leased_until=None, due_at=timezone.now()
    ):
        write_down(stream, Delivery.Reason.GAP, batch.first, batch.count, told)


def push_ahead(stream_id: UUID, turn: UUID, sentence: str) -> None:
    """A failure of ours: others go first, and this one is tried again later."""
    stream = Stream.objects.select_for_update(no_key=True).filter(pk=stream_id, turn=turn).first()
    if stream is None:
        return
    now = timezone.now()
    told = Told(0, now, 0, Outcome(Verdict.FAILED, sentence, code="internal"))
    write_down(stream, Delivery.Reason.BATCH, stream.next_seq, 0, told)
    _fail(stream, told.outcome, now)
    stream.leased_until, stream.due_at = None, max(stream.due_at, now + OUR_FAULT_PAUSE)
    stream.save()


def stop(stream: Stream, state: Stream.State, reason: str) -> None:
    """Pause or disable a stream that is locked, and tell those who look after it; the caller saves it."""
    action = actions.STREAM_DISABLED if state == Stream.State.DISABLED else actions.STREAM_PAUSED
    changes = action.change(stream, {"state": state})
    stream.state_reason, stream.state_since, stream.leased_until = reason, timezone.now(), None
    record(action=action, actor=SYSTEM, target=target(stream), changes=changes, reason=reason)
    data = {"stream_id": stream.pk, "name": stream.name, "state": state.value, "reason": reason}
    data["next_seq"] = stream.next_seq
    key = f"audit-stream:{stream.pk}:{stream.state_since.timestamp()}"
    events.emit(catalogue.AUDIT_STREAM_STOPPED, data=data, key=key)
    _mail(stream)


def _advance(stream: Stream, batch: Batch, now: datetime) -> None:
    stream.next_seq, stream.sent = batch.end, stream.sent + batch.count
    stream.proved_size = batch.checkpoint.size if stream.is_store else stream.proved_size
    stream.last_success_at, stream.failures, stream.failing_since = now, 0, None
    stream.refusals = stream.set_aside_in_row = 0
    if stream.most_events:
        wider = stream.most_events * 2
        stream.most_events = wider if wider < 500 else None


def _refuse(stream: Stream, batch: Batch, outcome: Outcome, now: datetime) -> None:
    """Of several, try fewer at once; one alone is tried again, then set aside."""
    if batch.count > 1:
        stream.most_events = max(1, batch.count // SPLIT)
        return
    stream.refusals += 1
    if stream.refusals < MOST_REFUSALS:
        stream.due_at = now + _pause(stream.refusals)
        return
    [line] = batch.lines
    DeadLetter.objects.create(
        stream=stream,
        seq=line.seq,
        event_id=line.event.pk,
        status=outcome.status,
        sentence=outcome.sentence,
    )
    stream.next_seq, stream.refusals = batch.end, 0
    stream.set_aside_in_row += 1
    if stream.set_aside_in_row >= MOST_ASIDE_IN_ROW:
        stream.set_aside_in_row = 0
        reason = f"It refused {MOST_ASIDE_IN_ROW} events one after the other: {outcome.sentence}"
        stop(stream, Stream.State.PAUSED, reason[:300])


def _fail(stream: Stream, outcome: Outcome, now: datetime) -> None:
    stream.failures += 1
    stream.failing_since = stream.failing_since or now
    hold = timedelta(seconds=outcome.hold or 0)
    stream.due_at = now + max(_pause(stream.failures), hold)
    if outcome.verdict is Verdict.GONE:
        stop(stream, Stream.State.DISABLED, outcome.sentence)
    elif stream.failures >= LEAST_FAILURES and stream.failing_since <= now - PAUSE_AFTER:
        since = f"Nothing arrived since {stream.failing_since:%d %b %Y, %H:%M} UTC, in {stream.failures} attempts."
        stop(stream, Stream.State.PAUSED, f"{since} The last: {outcome.sentence}"[:300])


def _pause(attempt: int) -> timedelta:
    """After the attempt (from 1)."""
    seconds = PAUSES[min(attempt, len(PAUSES)) - 1]
    return timedelta(seconds=seconds * (1 + random.random() * 0.2))  # noqa: S311  # spreads load, guards nothing


def _mail(stream: Stream) -> None:
    organization = Organization.objects.get()
    page = f"{settings.PUBLIC_URL}/o/{organization.slug}/audit/streams/{stream.pk}/"
    body = render_to_string("audit_streams/stopped.txt", {"organization": organization, "stream": stream, "page": page})
    subject = f"A stream of your audit log is {stream.state}"
    letters.post(letters.holders(Right.AUDIT_EXPORT), subject=subject, body=body)
