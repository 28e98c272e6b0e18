"""Keeps writes that found a cap reached, until `applying` makes them happen, and lets customers look after them.

An organization may keep MOST_WRITES of MOST_BYTES together: the turns of days, or a hundred of the largest imports. It
bounds what one customer's cap puts on the disk that all share, and how long it takes to apply once the cap has lifted.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.utils import timezone

from billing.quotas.models import ParkedTotal, ParkedWrite
from billing.quotas.services import QuotaReached, plan_page
from capsule_cloud.lib import crypto
from capsule_cloud.memory import limits
from capsule_cloud.memory.selectors.sessions import SessionNotFound, SessionState, get_session, list_sessions
from capsule_cloud.memory.services import capsules, sessions, transfer
from tenancy.audit import actions
from tenancy.audit import services as audit
from tenancy.audit.services import Actor
from tenancy.errors import NotFound, TenancyError
from tenancy.scope import scope

MOST_WRITES = 100_000  # of an organization, waiting or set aside
MOST_BYTES = 2**30


class ParkingFull(TenancyError):
    """The organization keeps as many writes as it may: this one was not kept, and has not happened."""

    code = "parking_full"

    def __init__(self, organization_id: UUID) -> None:
        super().__init__(
            f"A cap is reached, and as many writes as may ({MOST_WRITES:,}, or {MOST_BYTES // 2**20:,} MiB together) "
            "wait for it to lift: this one was not kept, and nothing was written. Raise the cap or change the plan, "
            f"then send it again; what waits happens first: {plan_page(organization_id)}"
        )


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
        _check_open(reached.use.project_id, session_id)
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


def park_import(reached: QuotaReached, *, actor: Actor, user_id: str, **file: Any) -> ParkedWrite:
    """Keep an import that found a cap, with the `file` of `transfer.check_import`; its passphrase is not kept.

    Raises what `transfer.import_capsule` would raise now; and `reached` where its cap refuses instead.
    """
    with scope(reached.use.organization_id):
        checked = transfer.check_import(user_id=user_id, **file)
        return _park(reached, ParkedWrite.Kind.IMPORT, actor, "", user_id, checked.as_json())


def park_open(reached: QuotaReached, *, actor: Actor, session_id: str) -> ParkedWrite:
    """Keep the opening of a session that found a cap, after `sessions.open_session` was undone for it.

    Raises SessionBelongsToAnother or SessionSealed where what waits says so; `reached` where its cap refuses instead.
    """
    user = reached.use.end_user
    with scope(reached.use.organization_id):
        _owner(reached.use.project_id, session_id, user)
        _check_open(reached.use.project_id, session_id)
        body = {"session_id": session_id, "user_id": user}
        return _park(reached, ParkedWrite.Kind.OPEN, actor, session_id, user, body)


def park_change(reached: QuotaReached, kind: ParkedWrite.Kind, *, actor: Actor, **values: Any) -> ParkedWrite:
    """Keep a write about capsules that found a cap, after it was undone: `values` are those of the kind's service.

    Having been done once it is known to be possible. Raises `reached` where its cap refuses instead.
    """
    with scope(reached.use.organization_id):
        return _park(reached, kind, actor, "", reached.use.end_user, values)


def _owner(project_id: UUID, session_id: str, user_id: str | None) -> str | None:
    """Whose session it is or will be, or the one named; None when nobody knows it. Raises as a write to it would."""
    try:
        session = get_session(project_id=project_id, session_id=session_id)
    except SessionNotFound:
        waiting = _waiting(project_id).filter(session_id=session_id).order_by("number").first()
        owner = None if waiting is None else waiting.end_user
    else:
        if session.sealed_at is not None:
            raise sessions.SessionSealed(session_id)
        owner = session.user_id
    if user_id is not None and owner not in {None, user_id}:
        raise sessions.SessionBelongsToAnother(session_id)
    return owner or user_id


def _check_open(project_id: UUID, session_id: str) -> None:
    if _waiting(project_id).filter(session_id=session_id, kind=ParkedWrite.Kind.SEAL).exists():
        raise sessions.SessionSealed(session_id)


def live_session(*, project_id: UUID, user_id: str) -> str | None:
    """The end user's newest open session as it will be when what waits has happened, if any. Raises InvalidInput."""
    theirs = _waiting(project_id).filter(end_user=limits.name("user_id", user_id), session_id__gt="")
    last = theirs.order_by("session_id", "-number").distinct("session_id").values_list("number", "session_id", "kind")
    waiting = sorted(last, reverse=True)
    for _, session_id, kind in waiting:
        if kind != ParkedWrite.Kind.SEAL:
            return str(session_id)
    sealed = {session_id for _, session_id, _ in waiting}
    page = list_sessions(project_id=project_id, user_id=user_id, state=SessionState.OPEN, limit=len(sealed) + 1)
    return next((one.external_id for one in page.sessions if one.external_id not in sealed), None)


def _waiting(project_id: UUID) -> Any:
    return ParkedWrite.objects.filter(project_id=project_id, state=ParkedWrite.State.PARKED)


def _park(
    reached: QuotaReached, kind: ParkedWrite.Kind, actor: Actor, session_id: str, owner: str, body: dict[str, Any]
) -> ParkedWrite:
    if not reached.may_park:
        raise reached
    use = reached.use
    theirs = _waiting(use.project_id).filter(end_user=owner, is_of_user=True)
    with transaction.atomic():
        write = ParkedWrite.objects.create(
            number=_next_number(),
            project_id=use.project_id,
            key_id=use.key_id,
            session_id=session_id,
            kind=kind,
            meter=use.meter,
            quantity=use.quantity,
            end_user=owner,
            is_of_user=reached.is_of_user or theirs.exists(),  # behind their earlier ones
            actor=asdict(actor),
            sealed_body=crypto.seal(orjson.dumps(body)),
        )
        kept = ParkedTotal.objects.get()  # this write is in it, and its lock is ours: nobody else adds to it meanwhile
        if kept.writes > MOST_WRITES or kept.bytes > MOST_BYTES:
            raise ParkingFull(use.organization_id)
        note(actions.WRITE_PARKED, actor, write)
    return write


def retry(*, actor: Actor, write_id: UUID) -> ParkedWrite:
    """Let a write that could not be applied wait again, behind the others. Raises NotFound unless it failed."""
    with transaction.atomic():
        write = _locked(write_id, ParkedWrite.State.FAILED)
        write.state, write.number, write.attempts = ParkedWrite.State.PARKED, _next_number(), 0
        write.due_at, write.ended_at, write.error = timezone.now(), None, ""
        write.save(update_fields=["state", "number", "attempts", "due_at", "ended_at", "error"])
        note(actions.PARKED_WRITE_RETRIED, actor, write)
    return write


def drop(*, actor: Actor, write_id: UUID) -> None:
    """Delete a write that waits or could not be applied: it never happens. Raises NotFound for any other."""
    with transaction.atomic():
        write = _locked(write_id, ParkedWrite.State.PARKED, ParkedWrite.State.FAILED)
        note(actions.PARKED_WRITE_DROPPED, actor, write)
        write.delete()


def _locked(write_id: UUID, *states: ParkedWrite.State) -> ParkedWrite:
    write = ParkedWrite.objects.filter(pk=write_id, state__in=states).select_for_update().first()
    if write is None:
        raise NotFound("There is no such write.")
    return write


def note(action: actions.Action, actor: Actor, write: ParkedWrite, **more: Any) -> None:
    """Record in the audit trail what became of a parked write."""
    whose = audit.Target("end_user", write.end_user, write.end_user)
    audit.record(
        action=action,
        actor=actor,
        target=sessions.session_target(write.session_id) if write.session_id else whose,
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
