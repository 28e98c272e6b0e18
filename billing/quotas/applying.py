"""Applies parked writes, each exactly once and in order within its lane, when the cap lifts.

A lane is a project; for what waits because its end user is one too many it is that end user of the project.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.services import Use, record, usage_call
from billing.quotas.models import ParkedWrite
from billing.quotas.parking import note
from billing.quotas.services import QuotaReached, admit, undo
from capsule_cloud.lib import crypto
from capsule_cloud.memory.limits import InvalidInput, TooLarge
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.selectors.capsules import CapsuleNotFound
from capsule_cloud.memory.selectors.sessions import SessionNotFound
from capsule_cloud.memory.services import capsules, sessions, skills, transfer
from tenancy.audit import actions
from tenancy.audit import services as audit
from tenancy.audit.services import Actor
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
    CapsuleNotFound,
    SessionNotFound,
    sessions.SessionBelongsToAnother,
    sessions.SessionSealed,
    sessions.SessionFull,
)


class ParkingFailed(Exception):
    """Some writes could not be applied; the log says why, and each is tried again later."""


@dataclass(frozen=True, slots=True)
class _Lane:
    """Whose writes wait for each other; `end_user` is None for a project's."""

    organization_id: UUID
    project_id: UUID
    end_user: str | None

    def waiting(self) -> Any:
        """What waits in it, in order."""
        writes = ParkedWrite.objects.filter(project_id=self.project_id, state=ParkedWrite.State.PARKED)
        is_of_user = self.end_user is not None
        mine = writes.filter(is_of_user=is_of_user, **({"end_user": self.end_user} if is_of_user else {}))
        return mine.order_by("number")


def apply_due() -> int:
    """Apply what waits, of every organization, as far as the caps let it; returns how many writes were.

    One that fails is tried again later, and holds up its own lane alone. Raises ParkingFailed after the others.
    """
    with unscoped(reason="parked writes of every organization are applied by one loop") as wide:
        lanes = [_Lane(**row) for row in wide.rows("quotas_parked_lanes", MOST_LANES)]
    applied, failed = 0, []
    crowded: set[UUID] = set()  # organizations that have no room for another end user: their lanes need no look
    for lane in lanes:
        if lane.end_user is not None and lane.organization_id in crowded:
            continue
        try:
            while applied < MOST_OF_A_LANE * MOST_LANES and _apply_next(lane, crowded):
                applied += 1
        except Exception:
            log.exception("parking.failed organization=%s project=%s", lane.organization_id, lane.project_id)
            _push_ahead(lane)
            failed.append(str(lane.project_id))
    if failed:
        raise ParkingFailed(", ".join(failed))
    return applied


def _apply_next(lane: _Lane, crowded: set[UUID]) -> bool:
    """Apply the lane's first write, in one transaction with its count and its state; whether it was.

    Only the first is ever locked: who finds it locked leaves the lane to the one who has it, so none overtakes.
    """
    with scope(lane.organization_id):
        while True:
            first = lane.waiting().values_list("pk", flat=True).first()
            due = ParkedWrite.objects.filter(pk=first, state=ParkedWrite.State.PARKED, due_at__lte=timezone.now())
            write = due.select_for_update(skip_locked=True).first()
            if write is None:
                return False
            try:
                with transaction.atomic():
                    outcome = _applied(write)
            except QuotaReached as reached:
                if not reached.is_of_user:
                    return False
                crowded.add(lane.organization_id)
                if lane.end_user is not None:
                    return False
                # the others of the project must not wait for one end user: all of theirs go to a lane of their own
                lane.waiting().filter(end_user=write.end_user).update(is_of_user=True)
                continue
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


def _apply_import(write: ParkedWrite, body: dict[str, Any], use: Use) -> dict[str, Any]:
    made = transfer.store_import(
        project_id=write.project_id, checked=transfer.CheckedImport.from_json(body), actor=Actor(**write.actor)
    )
    record(use)
    return {"capsule_id": made.capsule_id, "is_renamed": made.is_renamed}


def _apply_open(write: ParkedWrite, body: dict[str, Any], use: Use) -> dict[str, Any]:
    session = sessions.open_session(project_id=write.project_id, actor=Actor(**write.actor), **body)
    record(use)
    return {"session_id": session.external_id}


def _apply_expiry(write: ParkedWrite, body: dict[str, Any], use: Use) -> dict[str, Any]:
    end = body["expires_at"]
    return _about_capsules(capsules.set_expiry)(write, body | {"expires_at": end and datetime.fromisoformat(end)}, use)


def _about_capsules(service: Callable[..., Capsule]) -> Callable[[ParkedWrite, dict[str, Any], Use], dict[str, Any]]:
    """Applies a write of which the body has the service's own words."""

    def apply(write: ParkedWrite, body: dict[str, Any], use: Use) -> dict[str, Any]:
        capsule = service(project_id=write.project_id, actor=Actor(**write.actor), **body)
        record(use)
        return {"capsule_id": capsule.capsule_id}

    return apply


_APPLY: dict[str, Callable[[ParkedWrite, dict[str, Any], Use], dict[str, Any]]] = {
    ParkedWrite.Kind.INGEST: _apply_ingest,
    ParkedWrite.Kind.SEAL: _apply_seal,
    ParkedWrite.Kind.IMPORT: _apply_import,
    ParkedWrite.Kind.OPEN: _apply_open,
    ParkedWrite.Kind.MERGE: _about_capsules(capsules.merge),
    ParkedWrite.Kind.FORK: _about_capsules(capsules.fork),
    ParkedWrite.Kind.SKILL: _about_capsules(skills.create_skill),
    ParkedWrite.Kind.PIN: _about_capsules(capsules.set_pinned),
    ParkedWrite.Kind.TAG: _about_capsules(capsules.set_tags),
    ParkedWrite.Kind.EXPIRE: _apply_expiry,
}


def _fail(write: ParkedWrite, error: str) -> None:
    """Set a write aside that cannot be applied. It keeps its content, so that nothing is lost."""
    write.state, write.ended_at, write.error = ParkedWrite.State.FAILED, timezone.now(), error[:500]
    write.save(update_fields=["state", "ended_at", "error"])
    note(actions.PARKED_WRITE_FAILED, audit.SYSTEM, write, error=write.error)


def _push_ahead(lane: _Lane) -> None:
    """Let a write that failed unexpectedly wait longer each time, and give it up after MOST_ATTEMPTS."""
    with scope(lane.organization_id):
        write = lane.waiting().select_for_update(skip_locked=True).first()
        if write is None:
            return
        write.attempts += 1
        write.due_at = timezone.now() + timedelta(seconds=min(LONGEST_PAUSE, 2**write.attempts))
        write.save(update_fields=["attempts", "due_at"])
        if write.attempts >= MOST_ATTEMPTS:
            _fail(write, "It failed unexpectedly, again and again: tell us its id.")
