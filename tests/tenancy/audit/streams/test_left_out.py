"""Events that leave by their retention before a stream could be sent them: it goes on behind them, and says so."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from tenancy.audit import retention
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.selectors import first_id
from tenancy.audit.streams import batches as reading
from tenancy.audit.streams import engine, progress, services
from tenancy.audit.streams.models import DeadLetter, Delivery, Stream
from tenancy.errors import Conflict
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant
from tests.raw import connect
from tests.sealing import seal_all
from tests.targets import Target
from tests.tenancy.audit.streams.conftest import AddStream
from tests.tenancy.audit.streams.streamed import assert_proved, batches, happen, log_of, places, size_of, stream_of

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = timedelta(days=120)


@pytest.fixture(autouse=True)
def _leave_no_stream_at_work() -> Iterator[None]:
    """What is committed stays: let no later test's engine ask servers that are gone."""
    yield
    with connect("superuser") as server:
        server.execute("UPDATE audit_streams_stream SET state = 'paused'")


def happen_long_ago(tenant: Tenant, count: int) -> range:
    """So many events, recorded four months ago and sealed now; returns their places."""
    before, base = size_of(tenant), first_id(timezone.now() - LONG_AGO).int
    ids = [uuid.UUID(int=base + uuid.uuid4().int % 2**60) for _ in range(count)]
    with connect("superuser") as server:
        server.cursor().executemany(
            "INSERT INTO audit_auditevent (organization_id, id, action, actor_id, target_id, body) "
            "VALUES (%s, %s, 'x', '', '', '{\"v\":1}')",
            [(tenant.organization.pk, one) for one in ids],
        )
    seal_all(since=LONG_AGO + timedelta(days=2))
    return range(before, before + count)


def expire(tenant: Tenant) -> int:
    """What the plan keeps no longer goes; returns how many events."""
    return sum(one.deleted for one in retention.expire_due() if one.organization_id == tenant.organization.pk)


def deliver_all() -> None:
    """As the schedule does: a gap ends a turn, and the next call goes on."""
    for _ in range(20):
        engine.deliver()


def left_out(tenant: Tenant) -> list[tuple[int, int]]:
    """The gaps of the log: the first place, and how many."""
    return [(one.first, one.count) for one in log_of(tenant) if one.reason == Delivery.Reason.GAP]


def test_what_has_left_is_passed_over_told_and_no_failure(target: Target, add: AddStream) -> None:
    tenant = make_tenant()
    first = happen(tenant, 2)
    gone = happen_long_ago(tenant, 7)
    happen(tenant, 3)
    assert expire(tenant) == 7
    happen(tenant, 1)
    new = add(tenant, options={"url": target.url})
    happen(tenant, 1)
    deliver_all()
    size = size_of(tenant)
    assert gone == range(first, first + 7)
    assert places(target) == [one for one in range(size) if one not in gone], "in order, and nothing else is missing"
    for batch in batches(target):
        with scope(tenant.organization):
            assert_proved(batch["proof"], batch["events"])
    stream = stream_of(tenant, new)
    assert (stream.next_seq, stream.sent, stream.condition, stream.failures) == (size, size - 7, "active", 0)
    assert left_out(tenant) == [(first, 7)]
    [row] = [one for one in log_of(tenant) if one.reason == Delivery.Reason.GAP]
    assert (row.has_arrived, row.code, row.status, row.last) == (False, "expired", None, first + 6)
    assert row.sentence == "7 events had left by their retention before they could be sent."


def test_a_long_gap_is_one_step_however_small_batches_are(
    target: Target, add: AddStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream from the beginning of an old log gets its first event at once, not after a step for each batch."""
    monkeypatch.setattr(reading, "MOST_EVENTS", 2)
    tenant = make_tenant()
    first = happen(tenant, 1)
    happen_long_ago(tenant, 30)
    expire(tenant)
    happen(tenant, 1)
    with scope(tenant.organization):
        stream = add(tenant, options={"url": target.url}).stream
        Stream.objects.filter(pk=stream.pk).update(next_seq=first + 1)  # within it
    deliver_all()
    assert left_out(tenant) == [(first + 1, 29)]
    assert places(target)[0] == first + 30


def test_so_many_at_once_are_the_most(target: Target, add: AddStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_EVENTS", 1)
    monkeypatch.setattr(reading, "MOST_LEFT_OUT", 4)
    tenant = make_tenant()
    first = happen(tenant, 1)
    happen_long_ago(tenant, 10)
    expire(tenant)
    happen(tenant, 1)
    with scope(tenant.organization):
        stream = add(tenant, options={"url": target.url}).stream
        Stream.objects.filter(pk=stream.pk).update(next_seq=first)
    deliver_all()
    assert left_out(tenant) == [(first, 4), (first + 4, 4), (first + 8, 2)]
    assert places(target)[0] == first + 10


def test_a_stream_whose_every_waiting_event_has_left_waits_for_the_next(target: Target, add: AddStream) -> None:
    tenant = make_tenant()
    happen(tenant, 1)
    gone = happen_long_ago(tenant, 3)
    new = add(tenant, options={"url": target.url}, from_beginning=False)
    with scope(tenant.organization):
        Stream.objects.filter(pk=new.stream.pk).update(next_seq=gone.start)
    expire(tenant)  # that they have left is an event, too, but not sealed yet
    engine.deliver()
    assert (left_out(tenant), target.received) == ([(gone.start, 3)], [])
    assert stream_of(tenant, new).next_seq == gone.stop
    size = happen(tenant, 1)
    deliver_all()
    assert places(target) == list(range(gone.stop, size))


def test_a_replay_meanwhile_is_not_moved_by_a_gap(target: Target, add: AddStream) -> None:
    tenant = make_tenant()
    first = happen(tenant, 1)
    happen_long_ago(tenant, 3)
    expire(tenant)
    happen(tenant, 1)
    new = add(tenant, options={"url": target.url})
    with scope(tenant.organization):
        Stream.objects.filter(pk=new.stream.pk).update(next_seq=first)
        old = Stream.objects.get(pk=new.stream.pk)
        batch = reading.next_batch(old)
        assert batch is not None
        assert (batch.first, batch.count, list(batch.lines)) == (first, 3, [])
        services.replay(actor=tenant.actor, stream_id=old.pk, seq=0)
        progress.pass_over(old, batch)
    assert (stream_of(tenant, new).next_seq, left_out(tenant)) == (0, [])


def test_an_event_that_was_set_aside_and_has_left_cannot_be_sent_again(target: Target, add: AddStream) -> None:
    tenant = make_tenant()
    happen(tenant, 1)
    gone = happen_long_ago(tenant, 1)
    new = add(tenant, options={"url": target.url})
    with scope(tenant.organization):
        leaf = Leaf.objects.get(seq=gone.start)
        letter = DeadLetter.objects.create(
            stream=new.stream, seq=leaf.seq, event_id=leaf.event_id, status=400, sentence="Answered 400."
        )
    expire(tenant)
    with pytest.raises(Conflict, match="left by its retention"):
        services.resend(actor=tenant.actor, organization_id=tenant.organization.pk, letter_id=letter.pk)
    assert target.received == []
