"""Streams: every sealed event in order, provable where it arrives, and a target that fails costs itself alone."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from tenancy.audit import actions
from tenancy.audit.streams import batches as reading
from tenancy.audit.streams import engine, parcels, selectors, services
from tenancy.audit.streams.models import Stream
from tenancy.errors import Conflict, Invalid
from tenancy.scope import scope
from tests.factories import Tenant
from tests.targets import Target, says
from tests.tenancy.audit.streams.conftest import AddStream
from tests.tenancy.audit.streams.streamed import (
    RECEIVER,
    assert_proved,
    batches,
    happen,
    log_of,
    make_due,
    places,
    size_of,
    stream_of,
)
from tests.trail import audited


@pytest.fixture
def batch(tenant: Tenant, target: Target, add: AddStream) -> dict[str, Any]:
    """One that begins in the middle of the trail."""
    happen(tenant, 3)
    add(tenant, options={"url": target.url}, from_beginning=False)
    happen(tenant, 8)
    engine.deliver()
    return max(batches(target), key=lambda one: len(one["events"]))


def test_every_event_arrives_once_in_order_signed_and_proved(tenant: Tenant, target: Target, add: AddStream) -> None:
    happen(tenant, 3)
    new = add(tenant, options={"url": target.url})
    happen(tenant, 4)
    size = size_of(tenant)
    engine.deliver()
    assert places(target) == list(range(size))
    for request, batch in zip(target.received, batches(target), strict=True):
        Webhook(new.secret).verify(request.body, request.headers)
        with scope(tenant.organization):
            assert_proved(batch["proof"], batch["events"])
        assert (batch["type"], batch["stream_id"]) == ("audit.batch", str(new.stream.pk))
    stream = stream_of(tenant, new)
    assert (stream.next_seq, stream.sent, stream.leased_until) == (size, size, None)
    assert engine.deliver() == 0
    assert sum(one.count for one in log_of(tenant) if one.has_arrived) == size


def test_a_part_of_the_trail_proves_itself_too(
    tenant: Tenant, target: Target, add: AddStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_EVENTS", 7)
    add(tenant, options={"url": target.url})
    happen(tenant, 40)
    engine.deliver(budget=60)
    assert len(target.received) > 5
    for batch in batches(target):
        with scope(tenant.organization):
            assert_proved(batch["proof"], batch["events"])
    assert places(target) == list(range(size_of(tenant)))


@given(what=st.integers(0, 4), at=st.integers(0, 5))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_a_receiver_finds_out_whatever_is_done_to_a_batch(batch: dict[str, Any], what: int, at: int) -> None:
    events, proof = [dict(one) for one in batch["events"]], batch["proof"]
    assert RECEIVER["is_proved"]({"proof": proof, "events": events})
    if what == 0:
        events[at]["body"] = events[at]["body"].replace("Z", "z", 1)
    elif what == 1:
        del events[at]
    elif what == 2:
        events.insert(at, events[at])
    elif what == 3:
        events[at], events[at + 1] = events[at + 1], events[at]
    else:
        proof = {**proof, "before": proof["before"][1:]}
    assert not RECEIVER["is_proved"]({"proof": proof, "events": events})


def test_a_batch_is_cut_where_it_gets_too_large(
    tenant: Tenant, target: Target, add: AddStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 1_500)
    add(tenant, options={"url": target.url})
    happen(tenant, 9)
    engine.deliver(budget=60)
    assert places(target) == list(range(size_of(tenant)))
    assert all(len(batch["events"]) <= 3 for batch in batches(target))


def test_names_and_ocsf_stand_beside_the_exact_body(tenant: Tenant, target: Target, add: AddStream) -> None:
    add(tenant, options={"url": target.url}, has_ocsf=True)
    happen(tenant, 1)
    engine.deliver()
    last = batches(target)[-1]["events"][-1]
    assert tenant.owner.email not in last["body"]
    assert tenant.owner.email in last["people"].values()
    assert last["ocsf"]["actor"]["user"]["name"] == tenant.owner.email
    assert last["ocsf"]["metadata"]["uid"] == last["id"]


def test_without_people_nobody_is_named(tenant: Tenant, target: Target, add: AddStream) -> None:
    add(tenant, options={"url": target.url}, has_people=False, has_ocsf=True)
    happen(tenant, 1)
    engine.deliver()
    assert all(tenant.owner.email.encode() not in request.body for request in target.received)
    assert "people" not in batches(target)[-1]["events"][-1]


def test_both_secrets_verify_during_a_rotation_and_only_the_new_one_after_it(
    tenant: Tenant, target: Target, add: AddStream
) -> None:
    old = add(tenant, options={"url": target.url})
    with scope(tenant.organization):
        new = services.rotate(actor=tenant.actor, stream_id=old.stream.pk)
        with pytest.raises(Conflict, match="still signs"):
            services.rotate(actor=tenant.actor, stream_id=old.stream.pk)
        with pytest.raises(Invalid):
            services.rotate(actor=tenant.actor, stream_id=old.stream.pk, overlap=timedelta(days=8))
        assert audited(actions.STREAM_SECRET_ROTATED.name)
    happen(tenant, 1)
    engine.deliver()
    for secret in (old.secret, new.secret):
        Webhook(secret).verify(target.received[-1].body, target.received[-1].headers)
    with scope(tenant.organization):
        Stream.objects.update(previous_until=timezone.now() - timedelta(seconds=1))
    happen(tenant, 1)
    engine.deliver()
    Webhook(new.secret).verify(target.received[-1].body, target.received[-1].headers)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(old.secret).verify(target.received[-1].body, target.received[-1].headers)


SPLUNK_OK = says(200, b'{"text":"Success","code":0}')


def test_splunk_gets_its_events_and_the_checkpoint(tenant: Tenant, target: Target, add: AddStream) -> None:
    target.behaviour = SPLUNK_OK
    add(tenant, kind="splunk", options={"url": f"{target.url}/event", "index": "audit"}, secrets={"token": "abc-123"})
    happen(tenant, 2)
    engine.deliver()
    got = [json.loads(line) for request in target.received for line in request.body.split(b"\n")]
    assert target.received[0].headers["authorization"] == "Splunk abc-123"
    events = [one for one in got if one["sourcetype"] == "capsule:audit"]
    assert [one["event"]["seq"] for one in events] == list(range(size_of(tenant)))
    assert {one["index"] for one in got} == {"audit"}
    proof = got[-1]["event"]
    with scope(tenant.organization):
        assert_proved(proof, [one["event"] for one in events[proof["first"] :]])


@pytest.mark.parametrize("answer", [b'{"text":"Succ', b"<html>a proxy's page</html>", b'{"code":9}'])
def test_splunk_s_success_that_is_not_said_in_full_is_none(
    tenant: Tenant, target: Target, add: AddStream, answer: bytes
) -> None:
    target.behaviour = says(200, answer)
    new = add(tenant, kind="splunk", options={"url": target.url}, secrets={"token": "t"})
    happen(tenant, 1)
    engine.deliver()
    assert (stream_of(tenant, new).next_seq, stream_of(tenant, new).failures) == (0, 1)
    target.behaviour = SPLUNK_OK
    make_due(tenant)
    engine.deliver()
    assert stream_of(tenant, new).next_seq == size_of(tenant)


def test_a_wrong_index_of_splunk_is_the_target_s_fault_and_loses_no_event(
    tenant: Tenant, target: Target, add: AddStream
) -> None:
    target.behaviour = says(400, b'{"text":"Incorrect index","code":7}')
    new = add(tenant, kind="splunk", options={"url": target.url}, secrets={"token": "t"})
    happen(tenant, 1)
    engine.deliver()
    assert (stream_of(tenant, new).failures, stream_of(tenant, new).most_events) == (1, None)


def test_datadog_gets_messages_that_it_can_take_apart(tenant: Tenant, target: Target, add: AddStream) -> None:
    target.behaviour = says(202, b"{}")
    add(tenant, kind="datadog", options={"url": target.url}, secrets={"api_key": "dd-key"})
    happen(tenant, 2)
    engine.deliver()
    assert target.received[0].headers["dd-api-key"] == "dd-key"
    got = [one for request in target.received for one in json.loads(request.body)]
    messages = [json.loads(one["message"]) for one in got]
    assert [one["seq"] for one in messages if "seq" in one] == list(range(size_of(tenant)))
    assert messages[-1]["type"] == "checkpoint"
    assert got[0]["ddsource"] == "capsule"


def test_pause_keeps_the_place_and_resume_goes_on_there(tenant: Tenant, target: Target, add: AddStream) -> None:
    new = add(tenant, options={"url": target.url})
    first = happen(tenant, 2)
    engine.deliver()
    with scope(tenant.organization):
        services.pause(actor=tenant.actor, stream_id=new.stream.pk)
    happen(tenant, 3)
    assert engine.deliver() == 0
    with scope(tenant.organization):
        health = selectors.stream(new.stream.pk)
        assert health.behind == size_of(tenant) - first
        assert health.seconds_behind > 0
        services.resume(actor=tenant.actor, stream_id=new.stream.pk)
    engine.deliver()
    assert places(target) == list(range(size_of(tenant)))


def test_replay_sends_again_from_a_place_or_a_moment(tenant: Tenant, target: Target, add: AddStream) -> None:
    new = add(tenant, options={"url": target.url})
    size = happen(tenant, 5)
    engine.deliver()
    with scope(tenant.organization):
        services.replay(actor=tenant.actor, stream_id=new.stream.pk, seq=size - 2)
    engine.deliver()
    assert places(target) == [*range(size), size - 2, size - 1]
    with scope(tenant.organization):
        services.replay(actor=tenant.actor, stream_id=new.stream.pk, since=timezone.now() - timedelta(hours=1))
        assert Stream.objects.get().next_seq == 0
        services.replay(actor=tenant.actor, stream_id=new.stream.pk, since=timezone.now() + timedelta(hours=1))
        assert Stream.objects.get().next_seq == size
        for wrong in ({"seq": size + 1}, {"seq": -1}, {}, {"seq": 1, "since": timezone.now()}):
            with pytest.raises(Invalid):
                services.replay(actor=tenant.actor, stream_id=new.stream.pk, **wrong)
        assert len(audited(actions.STREAM_REPLAYED.name)) == 3


def test_a_replay_while_a_batch_is_under_way_is_not_moved_by_it(tenant: Tenant, target: Target, add: AddStream) -> None:
    new = add(tenant, options={"url": target.url})
    happen(tenant, 2)
    with scope(tenant.organization):
        [turn] = engine._claim(1)
        stream = Stream.objects.get()
        batch = reading.next_batch(stream)
        assert batch is not None
        made = parcels.parcel(stream, batch)
        services.replay(actor=tenant.actor, stream_id=new.stream.pk, seq=1)
    outcome = made.send()
    assert outcome.has_arrived
    assert not engine._settle(engine.Sent(turn, batch, made, timezone.now(), 1, outcome), may_go_on=True)
    assert stream_of(tenant, new).next_seq == 1


def test_secrets_that_cannot_be_opened_cost_their_stream_alone(
    tenant: Tenant, stranger: Tenant, target: Target, add: AddStream
) -> None:
    broken, sound = add(tenant, options={"url": target.url}), add(stranger, options={"url": target.url})
    with scope(tenant.organization):
        Stream.objects.update(sealed_secrets=b"rubbish")
    happen(tenant, 1)
    happen(stranger, 1)
    engine.deliver()
    assert stream_of(stranger, sound).next_seq == size_of(stranger)
    stream = stream_of(tenant, broken)
    assert (stream.failures, stream.leased_until) == (1, None)
    assert stream.due_at > timezone.now() + timedelta(minutes=4)
    [one] = log_of(tenant)
    assert one.code == "internal"
