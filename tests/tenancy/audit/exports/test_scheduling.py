"""Schedules put every event into a store exactly once, in time, also after an outage; what a store does is shown."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from capsule_cloud.lib import storage
from tenancy.audit.exports import scheduling, selectors, sending, services, targets, turns, writing
from tenancy.audit.exports.models import Export, Schedule, Target
from tenancy.audit.exports.services import Wish
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.scope import scope
from tests.factories import Tenant
from tests.targets import Target as Server
from tests.targets import says
from tests.tenancy.audit.exports.exported import bodies, fresh, make_trail, write
from tests.trail import audited


@pytest.fixture
def server() -> Iterator[Server]:
    """A customer's server that takes files. Our connections to it end with it."""
    with Server(says(201)) as made:
        storage._door.cache_clear()
        yield made
        storage._door().close()
        storage._door.cache_clear()


@pytest.fixture
def store(tenant: Tenant, server: Server) -> Target:
    """As the customer describes it."""
    with scope(tenant.organization):
        return targets.create(
            actor=tenant.actor,
            name="Logs",
            kind="https",
            options={"url": server.url},
            secrets={"authorization": "Bearer hunter2"},
        )


@pytest.fixture(autouse=True)
def _no_transaction_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own transaction is none that a store would be asked in."""
    monkeypatch.setattr("capsule_cloud.lib.http.refuse_open_transaction", lambda: None)


def daily(tenant: Tenant, store: Target, **more: Any) -> Schedule:
    with scope(tenant.organization):
        return scheduling.create(
            actor=tenant.actor, name="Daily", every="day", target_id=store.pk, wish=Wish(**more), from_beginning=True
        )


def work_off() -> None:
    while turn := turns.claim():
        writing.attend(turn)


def test_every_event_goes_out_once_whatever_was_missed(tenant: Tenant, store: Target, server: Server) -> None:
    schedule = daily(tenant, store)
    make_trail(tenant, 5)
    start = schedule.range_start
    assert scheduling.make_due(start + timedelta(days=1)) == 0  # what ended with the day may not be sealed yet
    assert scheduling.make_due(start + timedelta(days=1) + scheduling.MARGIN) == 1
    assert scheduling.make_due(start + timedelta(days=1) + scheduling.MARGIN) == 0
    make_trail(tenant, 4, starts=5)
    assert scheduling.make_due(start + timedelta(days=4, hours=1)) == 3  # an outage of three days
    work_off()
    with scope(tenant.organization):
        made = list(Export.objects.order_by("since"))
        schedule.refresh_from_db()
    assert [one.state for one in made] == [Export.State.READY] * 4
    assert [one.since for one in made] == [start + timedelta(days=day) for day in range(4)]
    assert [(one.first, one.last) for one in made] == [(made[0].first, made[0].last)] + [
        (before.last, one.last) for before, one in pairwise(made)
    ]
    sent = [got for got in server.received if got.path.endswith(".jsonl")]
    events = [line for got in sent for line in got.body.decode().split("\n")[:-1]]
    assert events == bodies(tenant)[: len(events)]
    assert len(events) == schedule.next_seq
    assert all(got.headers["authorization"] == "Bearer hunter2" for got in server.received)
    manifests = [json.loads(got.body)["manifest"] for got in server.received if got.path.endswith(".manifest.json")]
    assert [one["since"] is None for one in manifests] == [True, False, False, False]  # each proves the one before
    assert all(one.sent_at for one in made)


def test_a_whole_month_and_a_week_begin_where_people_expect() -> None:
    moment = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    assert scheduling.start_of("day", moment) == datetime(2026, 12, 31, tzinfo=UTC)
    assert scheduling.start_of("week", moment) == datetime(2026, 12, 28, tzinfo=UTC)
    assert scheduling.start_of("month", moment) == datetime(2026, 12, 1, tzinfo=UTC)
    assert scheduling.end_of("month", datetime(2026, 12, 1, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert scheduling.end_of("week", datetime(2026, 12, 28, tzinfo=UTC)) == datetime(2027, 1, 4, tzinfo=UTC)


def test_a_range_is_never_made_twice(tenant: Tenant, store: Target) -> None:
    schedule = daily(tenant, store)
    later = schedule.range_start + timedelta(days=2)
    scheduling.make_due(later)
    with scope(tenant.organization):
        Schedule.objects.update(range_start=schedule.range_start)  # as if its row had been restored from yesterday
    assert scheduling.make_due(later) == 0


def test_a_paused_schedule_makes_nothing_and_catches_up_then(tenant: Tenant, store: Target) -> None:
    schedule = daily(tenant, store)
    with scope(tenant.organization):
        scheduling.pause(actor=tenant.actor, schedule_id=schedule.pk, is_paused=True)
    assert scheduling.make_due(schedule.range_start + timedelta(days=3)) == 0
    with scope(tenant.organization):
        scheduling.pause(actor=tenant.actor, schedule_id=schedule.pk, is_paused=False)
    assert scheduling.make_due(schedule.range_start + timedelta(days=3, hours=1)) == 3


def test_a_schedule_and_its_store_end_in_that_order(tenant: Tenant, store: Target) -> None:
    schedule = daily(tenant, store)
    scheduling.make_due(schedule.range_start + timedelta(days=2))
    with scope(tenant.organization):
        with pytest.raises(Conflict):
            targets.delete(actor=tenant.actor, target_id=store.pk)
        scheduling.delete(actor=tenant.actor, schedule_id=schedule.pk)
        targets.delete(actor=tenant.actor, target_id=store.pk)
        assert Export.objects.filter(schedule=None, target=None).count() == 1
        for call in (
            lambda: scheduling.delete(actor=tenant.actor, schedule_id=schedule.pk),
            lambda: targets.get(store.pk),
            lambda: selectors.export(uuid4()),
            lambda: services.cancel(actor=tenant.actor, export_id=uuid4()),
        ):
            with pytest.raises(NotFound):
                call()
    work_off()  # what was made and has no store any more is written all the same


def test_a_store_that_fails_is_tried_again_for_days_and_then_given_up(
    tenant: Tenant, store: Target, server: Server
) -> None:
    make_trail(tenant, 2)
    server.behaviour = says(500)
    export = write(tenant, target_id=store.pk)
    for attempt in range(1, sending.MOST_ATTEMPTS + 1):
        assert (export.state, export.attempts) == (
            Export.State.SENDING if attempt < sending.MOST_ATTEMPTS else Export.State.READY,
            attempt,
        )
        assert export.send_failure == "The server answered 500."
        assert selectors.is_offered(export)  # it can be downloaded meanwhile
        with scope(tenant.organization):
            Export.objects.update(due_at=timezone.now())
        work_off()
        export = fresh(tenant, export)
    with scope(tenant.organization):
        assert targets.get(store.pk).is_failing
        assert len(audited("audit.export.not_sent")) == 1
    server.behaviour = says(201)
    with scope(tenant.organization):
        services.send_again(actor=tenant.actor, export_id=export.pk)
    work_off()
    export = fresh(tenant, export)
    assert (export.state, export.send_failure, export.sent_at is not None) == (Export.State.READY, "", True)
    with scope(tenant.organization):
        assert not targets.get(store.pk).is_failing


@pytest.mark.parametrize(("status", "location"), [(302, "http://169.254.169.254/"), (307, "http://10.0.0.1/")])
def test_a_store_that_redirects_inwards_gets_nothing_anywhere_else(
    status: int, location: str, tenant: Tenant, store: Target, server: Server
) -> None:
    server.behaviour = says(status, Location=location)
    make_trail(tenant, 1)
    export = write(tenant, target_id=store.pk)
    assert export.send_failure == f"Answered {status}: redirects are not followed."
    assert len(server.received) == 1


def test_a_store_that_breaks_off_is_tried_again(tenant: Tenant, store: Target, server: Server) -> None:
    def break_off(wire: Any, got: object) -> None:
        wire.shutdown(socket.SHUT_RDWR)  # closing alone would leave it open while the server's side is read as a file

    server.behaviour = break_off
    make_trail(tenant, 1)
    assert write(tenant, target_id=store.pk).state == Export.State.SENDING


def test_the_test_button_says_what_came_of_it(tenant: Tenant, store: Target, server: Server) -> None:
    def test() -> str:
        return targets.test(actor=tenant.actor, organization_id=tenant.organization.pk, target_id=store.pk)

    assert test() == ""
    assert server.received[-1].path.startswith("/hook/capsule-test-")
    server.behaviour = says(403)
    assert "credentials" in test()
    with scope(tenant.organization):
        found = targets.get(store.pk)
        assert found.is_failing
        assert [event.metadata["worked"] for event in audited("audit.target.tested")] == [True, False]


def test_no_secret_is_anywhere_but_sealed(tenant: Tenant, store: Target) -> None:
    with scope(tenant.organization):
        assert b"hunter2" not in bytes(store.sealed_secrets)
        assert targets.secrets_of(store) == {"authorization": "Bearer hunter2"}
        targets.update(
            actor=tenant.actor, target_id=store.pk, name="Other", secrets={"authorization": "Bearer hunter3"}
        )
        assert all("hunter" not in event.body for event in audited("audit."))
        [changed] = audited("audit.target.updated")
        assert changed.changes["name"] == ["Logs", "Other"]


def test_a_store_moves_only_with_its_secrets(tenant: Tenant) -> None:
    keys = {"access_key_id": "AKIA", "secret_access_key": "hunter2"}
    options = {"bucket": "logs", "region": "eu-west-1"}
    with scope(tenant.organization):
        made = targets.create(actor=tenant.actor, name="S3", kind="s3", options=options, secrets=keys)
        elsewhere = {**options, "endpoint": "https://s3.evil.example"}
        with pytest.raises(Invalid, match="secrets again"):
            targets.update(actor=tenant.actor, target_id=made.pk, options=elsewhere)
        with pytest.raises(Invalid, match="secrets again"):
            targets.update(actor=tenant.actor, target_id=made.pk, options=elsewhere, secrets={"access_key_id": "x"})
        targets.update(actor=tenant.actor, target_id=made.pk, options=elsewhere, secrets=keys)
        assert targets.get(made.pk).options["endpoint"] == "https://s3.evil.example"
        assert targets.get(made.pk).place == "logs"


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        ("ftp", {}, "kind"),
        ("https", {"url": "https://10.0.0.1/"}, "url"),
        ("https", {"url": "https://logs.example.com", "region": "x"}, "region"),
        ("s3", {"bucket": "logs", "region": "x"}, "access_key_id"),
    ],
)
def test_a_store_that_cannot_be_is_refused(kind: str, options: dict[str, str], field: str, tenant: Tenant) -> None:
    with scope(tenant.organization), pytest.raises(Invalid) as refused:
        targets.create(actor=tenant.actor, name="x", kind=kind, options=options, secrets={})
    assert refused.value.field == field


def test_names_and_numbers_have_limits(tenant: Tenant, store: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MOST", 1)
    monkeypatch.setattr(scheduling, "MOST", 1)
    with scope(tenant.organization):
        with pytest.raises(LimitReached):
            targets.create(actor=tenant.actor, name="x", kind="https", options={"url": "https://a.example"}, secrets={})
        with pytest.raises(Invalid):
            targets.update(actor=tenant.actor, target_id=store.pk, name=" ")
        for every, name in (("hour", "x"), ("day", "")):
            with pytest.raises(Invalid):
                scheduling.create(actor=tenant.actor, target_id=store.pk, wish=Wish(), every=every, name=name)
    daily(tenant, store)
    with pytest.raises(LimitReached):
        daily(tenant, store)


def test_files_are_behind_a_link_that_ends(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(tenant, 2)
    export, other = write(tenant), write(tenant)
    name = export.files[0]["name"]
    with scope(tenant.organization):
        link, until = selectors.link_to(export, name)
        stored = selectors.file(export.pk, name, link)
        assert sum(map(len, stored.read(0, stored.size))) == stored.size
        wrong = [(export.pk, name, "x"), (export.pk, "other", link), (other.pk, other.files[0]["name"], link)]
        for one in wrong:
            with pytest.raises(NotFound):
                selectors.file(*one)
        monkeypatch.setattr(timezone, "now", lambda: until + timedelta(seconds=1))
        with pytest.raises(NotFound):
            selectors.file(export.pk, name, link)


def test_another_s_link_and_export_are_nobody_s(tenant: Tenant, stranger: Tenant) -> None:
    make_trail(tenant, 1)
    export = write(tenant)
    link, _ = selectors.link_to(export, export.files[0]["name"])
    with scope(stranger.organization), pytest.raises(NotFound):
        selectors.file(export.pk, export.files[0]["name"], link)
    assert isinstance(storage.own(), storage.Folder)
