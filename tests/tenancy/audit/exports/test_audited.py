"""Whoever exports, and whatever becomes of it, is in the trail itself."""

from collections.abc import Iterator

import pytest

from capsule_cloud.lib import storage
from tenancy.audit.exports import scheduling, services, targets, turns, writing
from tenancy.audit.exports.services import Wish
from tenancy.scope import scope
from tests.factories import Tenant
from tests.targets import Target as Server
from tests.targets import says
from tests.tenancy.audit.exports.exported import ask, fresh, make_trail, write
from tests.trail import audited


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A customer's server that takes files."""
    monkeypatch.setattr("capsule_cloud.lib.http.refuse_open_transaction", lambda: None)
    with Server(says(201)) as made:
        storage._door.cache_clear()
        yield made
        storage._door().close()
        storage._door.cache_clear()


def test_every_step_of_exports_stores_and_schedules_is_recorded_with_its_actor(tenant: Tenant, server: Server) -> None:
    who = tenant.actor
    make_trail(tenant, 2)
    with scope(tenant.organization):
        store = targets.create(actor=who, name="Logs", kind="https", options={"url": server.url}, secrets={})
        schedule = scheduling.create(actor=who, name="Daily", every="day", target_id=store.pk, wish=Wish())
        for is_paused in (True, True, False):
            scheduling.pause(actor=who, schedule_id=schedule.pk, is_paused=is_paused)
        scheduling.delete(actor=who, schedule_id=schedule.pk)
    dropped = ask(tenant)
    with scope(tenant.organization):
        services.cancel(actor=who, export_id=dropped.pk)
    export = write(tenant, Wish(action="organization.project"), target_id=store.pk)
    with scope(tenant.organization):
        services.send_again(actor=who, export_id=export.pk)
    turn = turns.claim()
    assert turn is not None
    writing.attend(turn)
    with scope(tenant.organization):
        services.delete(actor=who, export_id=export.pk)
        targets.delete(actor=who, target_id=store.pk)
        found = [(event.action, event.actor["kind"]) for event in audited("audit.")]
        _, asked = audited("audit.export.requested")
        [written] = audited("audit.export.written")
    assert found == [
        ("audit.target.created", "user"),
        ("audit.schedule.created", "user"),
        ("audit.schedule.paused", "user"),
        ("audit.schedule.resumed", "user"),
        ("audit.schedule.deleted", "user"),
        ("audit.export.requested", "user"),
        ("audit.export.cancelled", "user"),
        ("audit.export.requested", "user"),
        ("audit.export.written", "system"),
        ("audit.export.sent", "system"),
        ("audit.export.sent_again", "user"),
        ("audit.export.sent", "system"),
        ("audit.export.deleted", "user"),
        ("audit.target.deleted", "user"),
    ]
    assert asked.metadata == {"format": "jsonl", "filters": {"action": "organization.project"}}
    assert written.metadata["sha256"] == fresh(tenant, export).files[0]["sha256"]
