"""Seals the trail for tests, also what their own transaction has written, which a real sealer could not see yet."""

from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from tenancy.audit.sealing import sealer
from tests.raw import connect

TABLES = [f"audit_sealing_{table}" for table in ("leaf", "node", "treehead", "checkpoint")] + ["audit_auditevent"]


def seal_all(*, since: timedelta = timedelta(minutes=10)) -> int:
    """Seal everything that was recorded since then; returns how many events."""
    now = timezone.now()
    return sealer.seal_missed(since=now - since, until=now + timedelta(days=1), everything=True)


def forget_trail(*organization_ids: UUID) -> None:
    """Delete trails and trees, of which a test made up some rows: the sealer of later tests would find them damaged."""
    with connect("superuser") as server, server.transaction():
        server.execute("SET LOCAL ROLE capsule_definer")  # nobody else may, not even a superuser
        server.execute("INSERT INTO audit_auditdeletion VALUES (pg_current_xact_id())")
        for table in TABLES:
            server.execute(f"DELETE FROM {table} WHERE organization_id = ANY(%s)", [list(organization_ids)])
        server.execute("DELETE FROM audit_auditdeletion WHERE xid = pg_current_xact_id()")
