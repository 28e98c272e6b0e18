"""Seals idle sessions as far as the caps let it: what finds one reached stays open, and is sealed when it lifts."""

from uuid import UUID

from billing.metering.meters import Meter
from billing.metering.services import Use, record
from billing.quotas.services import QuotaReached, admit, undo
from capsule_cloud.memory.models import Session
from capsule_cloud.memory.services.retention import close_due_sessions, close_if_idle
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope


def seal_idle_sessions() -> int:
    """Seal idle sessions of every organization, each counted as one that a key seals; how many were looked at.

    One that a cap keeps open is looked at again in ten minutes. Raises as `close_due_sessions` does.
    """
    return close_due_sessions(close=_close)


def _close(organization_id: UUID, session_pk: UUID) -> None:
    """Take its unit before anything is locked, as every other write does: the two orders would block each other."""
    with scope(organization_id):
        session = Session.objects.filter(pk=session_pk, sealed_at=None).first()
    if session is None:
        return
    use = Use(organization_id, session.project_id, None, Meter.SEAL, end_user=session.user_id)
    if session.last_turn_at is None:  # nothing to seal: it goes
        _close_counted(use, session_pk)
        return
    try:
        receipt = admit(use)
    except QuotaReached:
        return
    try:
        is_closed = _close_counted(use, session_pk)
    except BaseException:
        undo(receipt)
        raise
    if not is_closed:
        undo(receipt)


def _close_counted(use: Use, session_pk: UUID) -> bool:
    with scope(use.organization_id):
        return close_if_idle(session_pk=session_pk, actor=SYSTEM, also=lambda _: record(use))
