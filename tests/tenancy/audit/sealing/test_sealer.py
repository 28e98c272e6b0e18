"""The sealer: every event once, in one gap-free sequence, whatever writers, clocks and deaths do."""

import logging
import random
import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing import keys, notes, sealer, selectors
from tenancy.audit.sealing.merkle import Frontier, leaf_hash
from tenancy.audit.sealing.models import Checkpoint, Leaf, Log, Node, TreeHead
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.scope import scope, unscoped
from tests.factories import Tenant, make_tenant
from tests.forks import Fork
from tests.raw import connect, inside
from tests.sealing import forget_trail, seal_all
from tests.tenancy.audit.sealing.made_exports import verifier
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)
APPEND = "SELECT audit_append(%s, 'a.b', '', '', %s)"
BODY = '{"v":1,"action":"a.b"}'


def write(tenant: Tenant, count: int) -> None:
    """So many events, one transaction."""
    with scope(tenant.organization):
        for number in range(count):
            target = Target("project", str(number), f"P {number}")
            record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=target, metadata={})


def assert_whole(organization_id: UUID) -> int:
    """Every event sealed once, without a gap, and the checkpoint is the tree of the bodies; returns the size."""
    with scope(organization_id):
        bodies = dict(AuditEvent.objects.values_list("id", "body"))
        leaves = selectors.leaves(0, 10**9)
        checkpoint = selectors.latest_checkpoint()
        assert checkpoint is not None
        assert [leaf.seq for leaf in leaves] == list(range(len(bodies)))
        assert {leaf.event_id for leaf in leaves} == set(bodies)
        assert [bytes(leaf.hash) for leaf in leaves] == [leaf_hash(bodies[leaf.event_id].encode()) for leaf in leaves]
        tree = Frontier()
        tree.extend([bytes(leaf.hash) for leaf in leaves])
        assert (checkpoint.size, bytes(checkpoint.root)) == (tree.size, tree.root)
        assert checkpoint.note.startswith(notes.checkpoint_text(selectors.organization_origin(), tree.size, tree.root))
        assert selectors.tree().root == tree.root
        return tree.size


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    """A committed organization, with nothing of anybody's left to seal."""
    tenant = make_tenant()
    sealer.seal()
    return tenant


@pytest.fixture
def server(django_db_setup: None) -> Iterator[psycopg.Connection[Any]]:
    with connect("superuser") as connection:
        yield connection


def test_events_are_sealed_in_batches_and_in_their_order(tenant: Tenant) -> None:
    size = assert_whole(tenant.organization.pk)
    write(tenant, 300)
    assert sealer.seal(batch=100) == 300
    assert assert_whole(tenant.organization.pk) == size + 300
    with scope(tenant.organization):
        ids = list(Leaf.objects.order_by("seq").values_list("event_id", flat=True))
        assert ids == sorted(ids)
        assert Checkpoint.objects.count() == 4
        assert [node.place for node in Node.objects.filter(level=8)] == [0]
        kept = Checkpoint.objects.order_by("size")[1]
        assert selectors.root_at(kept.size) == bytes(kept.root)
    assert sealer.seal() == 0


def test_what_was_sealed_ahead_of_the_cursor_is_not_sealed_again(tenant: Tenant) -> None:
    write(tenant, 3)
    assert seal_all() >= 3
    write(tenant, 2)
    assert sealer.seal() == 2
    assert_whole(tenant.organization.pk)


def test_nothing_passes_a_transaction_that_is_still_open(tenant: Tenant) -> None:
    """It may still write events with lower transaction numbers than those that are there."""
    with connect("app") as slow:
        with inside(slow, tenant.organization.pk):
            slow.execute(APPEND, [tenant.organization.pk, BODY])
            write(tenant, 2)
            assert sealer.seal() == 0
            waiting = selectors.lag()
            assert waiting.events == 2
            assert waiting.held_up_seconds > 0
        assert sealer.seal() == 3
    assert selectors.lag().events == 0
    assert_whole(tenant.organization.pk)
    with scope(tenant.organization):
        assert Leaf.objects.order_by("-seq")[2].event_id == AuditEvent.objects.get(action="a.b").pk


def test_eight_writers_with_rollbacks_and_long_transactions_lose_nothing(tenant: Tenant) -> None:
    others = [make_tenant() for _ in range(3)]
    organizations = [one.organization.pk for one in (tenant, *others)]
    is_over, written = Event(), [0] * 8

    def writer(number: int) -> None:
        chance = random.Random(number)
        with connect("app") as app:
            for _ in range(60):
                organization_id = chance.choice(organizations)
                count = chance.choice([1, 1, 1, 5])
                try:
                    with inside(app, organization_id):
                        for _ in range(count):
                            app.execute(APPEND, [organization_id, BODY])
                        if chance.random() < 0.1:
                            app.execute("SELECT pg_sleep(%s)", [chance.random() / 10])
                        if chance.random() < 0.1:
                            raise psycopg.DataError
                except psycopg.DataError:
                    continue
                written[number] += count

    def seal_on() -> int:
        total = 0
        while not is_over.is_set():
            total += sealer.seal(batch=7)
        return total

    def all_writers() -> None:
        results = at_once(*[lambda number=number: writer(number) for number in range(8)])
        is_over.set()
        assert results == [None] * 8

    outcomes = at_once(all_writers, seal_on)
    assert outcomes[0] is None
    sealer.seal()
    assert sum(assert_whole(one) for one in organizations) >= sum(written)
    assert selectors.differences(timezone.now() - sealer.LOOKED_BACK).is_none


def insert_event(server: psycopg.Connection[Any], organization_id: UUID, xid: int, number: int) -> UUID:
    """An event of an earlier transaction, as only a superuser can write it."""
    event_id = UUID(f"01980000-0000-7{random.randrange(4096):03x}-8000-{number:012x}")
    server.execute(
        "INSERT INTO audit_auditevent (organization_id, id, xid, action, actor_id, target_id, body) "
        "VALUES (%s, %s, %s::text::xid8, 'a.b', '', '', %s)",
        [organization_id, event_id, xid, f'{{"number":{number}}}'],
    )
    return event_id


@pytest.fixture
def cursor_at(server: psycopg.Connection[Any]) -> Iterator[Any]:
    """Sets the sealer's cursor back for a test."""
    before = server.execute("SELECT cursor_xid, cursor_id FROM audit_sealing_log").fetchone()

    def set_back(xid: int) -> None:
        server.execute("UPDATE audit_sealing_log SET cursor_xid = %s, cursor_id = %s", [xid, UUID(int=0)])

    yield set_back
    assert before is not None
    server.execute("UPDATE audit_sealing_log SET cursor_xid = %s, cursor_id = %s, is_restored = false", before)


def test_transaction_numbers_that_gain_a_digit_and_clocks_that_go_back_keep_the_order(
    tenant: Tenant, server: psycopg.Connection[Any], cursor_at: Any
) -> None:
    """Ordered as text, 100 would come before 99, and the cursor would pass what it has not sealed."""
    cursor_at(7)
    xids = [8, 9, 10, 11, 98, 99, 100, 101]
    # ids fall while transactions rise: the clock went backwards between them
    expected = [insert_event(server, tenant.organization.pk, xid, 1_000 - xid) for xid in xids]
    assert sealer.seal(batch=3) == len(xids)
    with scope(tenant.organization):
        leaves = Leaf.objects.filter(event_id__in=expected).order_by("seq")
        assert [leaf.event_id for leaf in leaves] == expected
    assert_whole(tenant.organization.pk)


SEALER = """
import signal
from tenancy.audit.sealing import keys, sealer
real = keys.signers
def stop_here():
    print("in mid batch", flush=True)
    signal.pause()
    return real()
keys.signers = stop_here
sealer.seal()
"""


def test_a_sealer_killed_in_mid_batch_has_done_nothing(tenant: Tenant) -> None:
    size = assert_whole(tenant.organization.pk)
    write(tenant, 50)
    for _ in range(3):
        with Fork(SEALER) as other:
            assert other.line() == "in mid batch\n"
            assert sealer.seal() == 0  # one at a time
            other.kill()
        with scope(tenant.organization):
            assert selectors.sealed_size() == size
            assert Leaf.objects.count() == size
        write(tenant, 1)
    # the server notices at its next write to the dead client
    while not sealer.seal():
        pass
    assert assert_whole(tenant.organization.pk) == size + 53


def test_a_thousand_organizations_write_at_once(tenant: Tenant, server: psycopg.Connection[Any]) -> None:
    before = Log.objects.get().size
    organizations = [uuid4() for _ in range(1_000)]
    server.execute(
        "INSERT INTO audit_auditevent (organization_id, id, action, actor_id, target_id, body) "
        "SELECT o, uuidv7(), 'a.b', '', '', '{\"n\":' || n || '}' FROM unnest(%s::uuid[]) o, generate_series(1, 3) n",
        [organizations],
    )
    assert sealer.seal(batch=500) == 3_000
    log = Log.objects.get()
    assert log.size >= before + 1_000
    published = verifier.Keys(
        {"keys": [{"public_key": one["public_key"], "state": "signs"} for one in keys.published()]}
    )
    assert verifier.checkpoint(log.note, published).is_signed
    for organization_id in organizations[::50]:
        assert assert_whole(organization_id) == 3
        with scope(organization_id):
            checkpoint = selectors.latest_checkpoint()
            assert checkpoint is not None
            proof = selectors.log_proof(checkpoint)
            text = notes.tlog_proof(proof.index, proof.hashes, proof.note)
            assert list(verifier.wrong_event(checkpoint.note.encode(), text, published)) == []


# --- What should not happen ---


def test_an_event_that_the_cursor_missed_is_found_and_sealed(
    tenant: Tenant, server: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    insert_event(server, tenant.organization.pk, 5, 1)
    assert sealer.seal() == 0
    since = timezone.now() - timedelta(days=3_650)
    assert selectors.differences(since).unsealed == 1
    with caplog.at_level(logging.ERROR):
        assert sealer.reconcile(since=since).unsealed == 0
    assert "audit.sealing_missed events=1" in caplog.text
    assert_whole(tenant.organization.pk)


def test_a_sealed_event_that_is_gone_is_said(
    tenant: Tenant, server: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    write(tenant, 1)
    sealer.seal()
    with scope(tenant.organization):
        event = AuditEvent.objects.order_by("-id")[0]
    with server.transaction():
        server.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER no_change")
        server.execute("DELETE FROM audit_auditevent WHERE id = %s", [event.pk])
        server.execute("ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER no_change")
    with caplog.at_level(logging.ERROR):
        assert sealer.reconcile().gone >= 1
    assert "audit.sealing_differs" in caplog.text
    with server.transaction():  # as it was, for the tests that compare
        server.execute("ALTER TABLE audit_sealing_leaf DISABLE TRIGGER no_change")
        server.execute("DELETE FROM audit_sealing_leaf WHERE event_id = %s", [event.pk])
        server.execute("ALTER TABLE audit_sealing_leaf ENABLE ALWAYS TRIGGER no_change")


def test_a_restored_dump_is_sealed_whole_and_begins_anew(
    tenant: Tenant, server: psycopg.Connection[Any], cursor_at: Any
) -> None:
    insert_event(server, tenant.organization.pk, 2**40, 1)  # of the server that the dump came from
    server.execute("UPDATE audit_sealing_log SET cursor_xid = %s", [2**40 + 1])
    with pytest.raises(DatabaseError, match="restored from a dump"):
        sealer.seal()
    output = StringIO()
    call_command("audit_sealer", after_restore=True, stdout=output)
    assert output.getvalue().startswith("sealed 1 events that were waiting in the dump\nsealed 0 events\n")
    write(tenant, 2)
    assert sealer.seal() == 2
    assert sealer.seal() == 0
    assert_whole(tenant.organization.pk)


def gone() -> int:
    """How many sealed events the command misses."""
    try:
        call_command("audit_sealer", days=3_650, stdout=StringIO(), stderr=StringIO())
    except CommandError as error:
        return int(re.findall(r"(\d+) sealed events are gone", str(error))[0])
    return 0


def test_the_command_seals_compares_and_says_how_it_is(tenant: Tenant, server: psycopg.Connection[Any]) -> None:
    write(tenant, 3)
    output = StringIO()
    call_command("audit_sealer", stdout=output)
    assert output.getvalue().startswith("sealed 3 events\nwaiting 0, the oldest for 0 s\n")
    missed = insert_event(server, tenant.organization.pk, 5, 77)
    before = gone()  # other tests may have left some
    with scope(tenant.organization):
        assert Leaf.objects.filter(event_id=missed).exists()
    with server.transaction():
        server.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER no_change")
        server.execute("DELETE FROM audit_auditevent WHERE id = %s", [missed])
        server.execute("ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER no_change")
    assert gone() == before + 1
    with server.transaction():  # as it was, for the tests that compare
        server.execute("ALTER TABLE audit_sealing_leaf DISABLE TRIGGER no_change")
        server.execute("DELETE FROM audit_sealing_leaf WHERE event_id = %s", [missed])
        server.execute("ALTER TABLE audit_sealing_leaf ENABLE ALWAYS TRIGGER no_change")


DAMAGES = {
    "a head without its leaves": "UPDATE audit_sealing_treehead SET size = size + 1 WHERE organization_id = %s",
    "leaves without their head": "DELETE FROM audit_sealing_treehead WHERE organization_id = %s",
    "a frontier of another size": "UPDATE audit_sealing_treehead SET frontier = 'x' WHERE organization_id = %s",
    "a leaf ahead": "INSERT INTO audit_sealing_leaf VALUES (%s, 999, uuidv7(), '')",
    "a node ahead": "INSERT INTO audit_sealing_node VALUES (%s, 8, 0, '')",
    "a checkpoint ahead": "INSERT INTO audit_sealing_checkpoint VALUES (%s, 999, '', '', 0, now())",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_tree_keeps_nobody_else_from_being_sealed(
    tenant: Tenant, server: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    lame = make_tenant()
    sealer.seal()
    server.execute(damage, [lame.organization.pk])
    write(lame, 5)
    write(tenant, 3)
    write(lame, 1)
    try:
        with caplog.at_level(logging.ERROR):
            assert sealer.seal(batch=2) == 3
        assert f"audit.sealing_set_aside organization={lame.organization.pk} events=2" in caplog.text
        assert_whole(tenant.organization.pk)
        with scope(lame.organization):
            assert not Leaf.objects.filter(event_id__in=AuditEvent.objects.order_by("-id")[:6].values("id")).exists()
        output, errors = StringIO(), StringIO()
        with pytest.raises(CommandError, match=r"\d+ events are not sealed"):
            call_command("audit_sealer", stdout=output, stderr=errors)
        assert f"set aside {lame.organization.pk}: its tree is damaged, 6 events are not sealed" in errors.getvalue()
        [(last,)] = server.execute("SELECT cursor_xid FROM audit_sealing_log").fetchall()
        insert_event(server, tenant.organization.pk, last, 78)  # behind more of the lame one's than a batch holds
        since = timezone.now() - timedelta(days=3_650)
        later = timezone.now() + timedelta(days=1)
        assert sealer.seal_missed(since=since, until=later, batch=2) == 1
        assert_whole(tenant.organization.pk)
    finally:
        forget_trail(lame.organization.pk)


def test_a_mended_tree_is_sealed_on(tenant: Tenant, server: psycopg.Connection[Any]) -> None:
    resize = "UPDATE audit_sealing_treehead SET size = size + %s WHERE organization_id = %s"
    server.execute(resize, [1, tenant.organization.pk])
    write(tenant, 3)
    assert sealer.seal() == 0
    server.execute(resize, [-1, tenant.organization.pk])
    assert sealer.seal_missed(until=timezone.now() + timedelta(days=1)) == 3
    assert_whole(tenant.organization.pk)


def test_a_late_sealer_is_an_error_in_the_log(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert sealer.watch().events == 0
        assert caplog.text == ""
        write(tenant, 1)
        sealer.watch()
        assert "audit.sealing_lag events=1" in caplog.text
        monkeypatch.setattr(sealer, "LATE", -1.0)
        sealer.watch()
        assert "audit.sealing_late events=1" in caplog.text


def refused(connection: psycopg.Connection[Any], organization_id: UUID, statement: str) -> None:
    with inside(connection, organization_id):
        connection.execute(statement)


@pytest.mark.parametrize("role", ["app", "owner", "superuser"])
def test_what_proves_the_trail_is_never_changed(tenant: Tenant, server: psycopg.Connection[Any], role: Any) -> None:
    of = tenant.organization.pk
    server.execute("INSERT INTO audit_sealing_node VALUES (%s, 24, 999, '')", [of])
    server.execute("INSERT INTO audit_sealing_lognode VALUES (24, 999, '') ON CONFLICT DO NOTHING")
    for table in ("leaf", "node", "checkpoint", "logentry", "lognode"):
        column = "root" if table == "checkpoint" else "hash"
        for order in (f"UPDATE {{}} SET {column} = ''", "DELETE FROM {}", "TRUNCATE {}"):
            statement = order.format(f"audit_sealing_{table}")
            with connect(role) as connection, pytest.raises(psycopg.Error, match=r"append-only|permission denied"):
                refused(connection, of, statement)
    with server.transaction():
        server.execute("ALTER TABLE audit_sealing_node DISABLE TRIGGER no_change")
        server.execute("DELETE FROM audit_sealing_node WHERE place = 999")
        server.execute("ALTER TABLE audit_sealing_node ENABLE ALWAYS TRIGGER no_change")


def test_a_tree_of_another_size_than_its_leaves_is_refused(tenant: Tenant) -> None:
    with scope(tenant.organization):
        head = TreeHead.objects.get()
    of, size = [tenant.organization.pk], [head.size + 1]
    values: Any = (of, size, [b""], [b""], [""], [], [], [], [], [], b"", "", "", [], [], [])
    with unscoped(reason="an attack") as wide:  # noqa: SIM117  # one statement raises
        with pytest.raises(DatabaseError, match="as many leaves as are stored"):
            wide.rows("audit_sealing_put", *values)
