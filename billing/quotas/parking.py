"""Keeps writes that found a cap reached, and applies each exactly once, in order, when the cap lifts."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.services import Use, record, usage_call
from billing.quotas.models import ParkedWrite
from billing.quotas.services import QuotaReached, admit, undo
from capsule_cloud.lib import crypto
from capsule_cloud.memory.limits import InvalidInput, TooLarge
from capsule_cloud.memory.selectors.sessions import SessionNotFound, get_session
from capsule_cloud.memory.services import capsules, sessions
from tenancy.audit import actions
from tenancy.audit import services as audit
from tenancy.audit.services import Actor
from tenancy.errors import NotFound
from tenancy.scope import OfFirst, scope, unscoped

MOST_LANES = 500  # a sweep
MOST_OF_A_LANE = 200
MOST_ATTEMPTS = 10
LONGEST_PAUSE = 3600  # seconds
log = logging.getLogger("quotas.parking")

# What a write may have become impossible by, while it waited. A retry does not help.
REFUSALS = (
    InvalidInput,
    TooLarge,
    SessionNotFound,
    sessions.SessionBelongsToAnother,
    sessions.SessionSealed,
    sessions.SessionFull,
)


class ParkingFailed(Exception):
    """Some projects' writes could not be applied; the log says why, and each is tried again later."""


def park_ingest(
    reached: QuotaReached,
    *,
    actor: Actor,
    session_id: str,
    turns: Sequence[sessions.TurnPair],
    user_id: str | None = None,
) -> ParkedWrite:
    """Keep turns that found a cap; they are on disk when this returns.

    Raises what `sessions.ingest` would raise for them now; and `reached` where its cap refuses instead.
    """
    sessions.check_ingest(session_id=session_id, turns=turns, user_id=user_id)
    body = {"turns": [asdict(turn) for turn in turns], "user_id": user_id}
    with scope(reached.use.organization_id):
        owner = _owner(reached.use.project_id, session_id, user_id)
        return _park(reached, ParkedWrite.Kind.INGEST, actor, session_id, owner or sessions.DEFAULT_USER, body)


def park_seal(
    reached: QuotaReached, *, actor: Actor, session_id: str, user_id: str | None = None, **values: Any
) -> ParkedWrite:
    """Keep a seal that found a cap, with the `values` of `sessions.seal`; `user_id` must be its owner's, if given.

    Raises what `sessions.seal` would raise now, SessionNotFound; and `reached` where its cap refuses instead.
    """
    sessions.check_seal(**values)
    with scope(reached.use.organization_id):
        owner = _owner(reached.use.project_id, session_id, None)
        if owner is None or user_id not in {None, owner}:
            raise SessionNotFound(session_id)
        return _park(reached, ParkedWrite.Kind.SEAL, actor, session_id, owner, values)


def _owner(project_id: UUID, session_id: str, user_id: str | None) -> str | None:
    """Whose session it is or will be, or the one named; None when nobody knows it. Raises as a write to it would."""
    try:
        session = get_session(project_id=project_id, session_id=session_id)
    except SessionNotFound:
        waiting = _waiting(project_id).filter(session_id=session_id).first()
        owner = None if waiting is None else waiting.end_user
    else:
        if session.sealed_at is not None:
            raise sessions.SessionSealed(session_id)
        owner = session.user_id
    if user_id is not None and owner not in {None, user_id}:
        raise sessions.SessionBelongsToAnother(session_id)
    return owner or user_id


def _waiting(project_id: UUID) -> Any:
    return ParkedWrite.objects.filter(project_id=project_id, state=ParkedWrite.State.PARKED).order_by("number")


def _park(
    reached: QuotaReached, kind: ParkedWrite.Kind, actor: Actor, session_id: str, owner: str, body: dict[str, Any]
) -> ParkedWrite:
    if not reached.may_park:
        raise reached
    use = reached.use
    write = ParkedWrite.objects.create(
        number=_next_number(),
        project_id=use.project_id,
        key_id=use.key_id,
        session_id=session_id,
        kind=kind,
        meter=use.meter,
        quantity=use.quantity,
        end_user=owner,
        actor=asdict(actor),
        sealed_body=crypto.seal(orjson.dumps(body)),
    )
    _record(actions.WRITE_PARKED, actor, write)
    return write


def apply_due() -> int:
    """Apply what waits, of every organization, as far as the caps let it; returns how many writes were.

    One that fails is tried again later, and holds up its own project alone. Raises ParkingFailed after the others.
    """
    with unscoped(reason="parked writes of every organization are applied by one loop") as wide:
        lanes = wide.rows("quotas_parked_lanes", MOST_LANES)
    applied, failed = 0, []
    for lane in lanes:
        where = (lane["organization_id"], lane["project_id"])
        try:
            while applied < MOST_OF_A_LANE * MOST_LANES and _apply_next(*where):
                applied += 1
        except Exception:
            log.exception("parking.failed organization=%s project=%s", *where)
            _push_ahead(*where)
            failed.append(str(lane["project_id"]))
    if failed:
        raise ParkingFailed(", ".join(failed))
    return applied


def _apply_next(organization_id: UUID, project_id: UUID) -> bool:
    """Apply the project's first write, in one transaction with its count and its state; whether it was.

    Only the first is ever locked: who finds it locked leaves the project to the one who has it, so none overtakes.
    """
    with scope(organization_id):
        first = _waiting(project_id).values_list("pk", flat=True).first()
        due = ParkedWrite.objects.filter(pk=first, state=ParkedWrite.State.PARKED, due_at__lte=timezone.now())
        write = due.select_for_update(skip_locked=True).first()
        if write is None:
            return False
        try:
            with transaction.atomic():
                outcome = _applied(write)
        except QuotaReached:
            return False
        except REFUSALS as error:
            _fail(write, str(error))
        else:
            write.state, write.ended_at = ParkedWrite.State.APPLIED, timezone.now()
            write.outcome, write.sealed_body = outcome, b""
            write.save(update_fields=["state", "ended_at", "outcome", "sealed_body"])
    return True


def _applied(write: ParkedWrite) -> dict[str, Any]:
    use = Use(write.organization_id, write.project_id, write.key_id, Meter(write.meter), write.quantity, write.end_user)
    receipt = admit(use, is_queued=True)
    try:
        return _APPLY[write.kind](write, orjson.loads(crypto.unseal(write.sealed_body)), use)
    except BaseException:
        undo(receipt)
        raise


def _apply_ingest(write: ParkedWrite, body: dict[str, Any], use: Use) -> dict[str, Any]:
    result = sessions.ingest(
        organization_id=write.organization_id,
        project_id=write.project_id,
        session_id=write.session_id,
        turns=[sessions.TurnPair(**turn) for turn in body["turns"]],
        user_id=body["user_id"],
        actor=Actor(**write.actor),
        also=(usage_call(use, end_user=OfFirst("user_id")),),
    )
    return {"turn_id": result.turn_id, "total_turns": result.total_turns}


def _apply_seal(write: ParkedWrite, body: dict[str, Any], use: Use) -> dict[str, Any]:
    result = sessions.seal(project_id=write.project_id, session_id=write.session_id, actor=Actor(**write.actor), **body)
    record(use)
    return {"capsule_id": result.capsule_id, "turn_count": result.turn_count}


_APPLY: dict[str, Callable[[ParkedWrite, dict[str, Any], Use], dict[str, Any]]] = {
    ParkedWrite.Kind.INGEST: _apply_ingest,
    ParkedWrite.Kind.SEAL: _apply_seal,
}


def _fail(write: ParkedWrite, error: str) -> None:
    """Set a write aside that cannot be applied. It keeps its content, so that nothing is lost."""
    write.state, write.ended_at, write.error = ParkedWrite.State.FAILED, timezone.now(), error[:500]
    write.save(update_fields=["state", "ended_at", "error"])
    _record(actions.PARKED_WRITE_FAILED, audit.SYSTEM, write, error=write.error)


def _push_ahead(organization_id: UUID, project_id: UUID) -> None:
    """Let a write that failed unexpectedly wait longer each time, and give it up after MOST_ATTEMPTS."""
    with scope(organization_id):
        write = _waiting(project_id).select_for_update(skip_locked=True).first()
        if write is None:
            return
        write.attempts += 1
        write.due_at = timezone.now() + timedelta(seconds=min(LONGEST_PAUSE, 2**write.attempts))
        write.save(update_fields=["attempts", "due_at"])
        if write.attempts >= MOST_ATTEMPTS:
            _fail(write, "It failed unexpectedly, again and again: tell us its id.")


def retry(*, actor: Actor, write_id: UUID) -> ParkedWrite:
    """Let a write that could not be applied wait again, behind the others. Raises NotFound unless it failed."""
    with transaction.atomic():
        write = _locked(write_id, ParkedWrite.State.FAILED)
        write.state, write.number, write.attempts = ParkedWrite.State.PARKED, _next_number(), 0
        write.due_at, write.ended_at, write.error = timezone.now(), None, ""
        write.save(update_fields=["state", "number", "attempts", "due_at", "ended_at", "error"])
        _record(actions.PARKED_WRITE_RETRIED, actor, write)
    return write


def drop(*, actor: Actor, write_id: UUID) -> None:
    """Delete a write that waits or could not be applied: it never happens. Raises NotFound for any other."""
    with transaction.atomic():
        write = _locked(write_id, ParkedWrite.State.PARKED, ParkedWrite.State.FAILED)
        _record(actions.PARKED_WRITE_DROPPED, actor, write)
        write.delete()


def _locked(write_id: UUID, *states: ParkedWrite.State) -> ParkedWrite:
    write = ParkedWrite.objects.filter(pk=write_id, state__in=states).select_for_update().first()
    if write is None:
        raise NotFound("There is no such write.")
    return write


def _record(action: actions.Action, actor: Actor, write: ParkedWrite, **more: Any) -> None:
    audit.record(
        action=action,
        actor=actor,
        target=sessions.session_target(write.session_id),
        metadata={"kind": write.kind, "parked_id": str(write.pk), **more},
    )


def _next_number() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('quotas_parked_order')")
        [(number,)] = cursor.fetchall()
    return int(number)


def delete_user(*, project_id: UUID, user_id: str, actor: Actor) -> capsules.DeletedUser:
    """Delete everything that is remembered of an end user, and what waits to be; says how much was remembered.

    Raises as the memory's own `delete_user` does.
    """
    with transaction.atomic():
        deleted = capsules.delete_user(project_id=project_id, user_id=user_id, actor=actor)
        ParkedWrite.objects.filter(project_id=project_id, end_user=user_id).delete()
    return deleted
