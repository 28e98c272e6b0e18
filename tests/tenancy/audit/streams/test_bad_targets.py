"""Targets on their bad days: nothing is lost, one event that is refused is found, and people are told."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.streams import engine, parcels, progress, selectors, services
from tenancy.audit.streams.models import Delivery, Stream
from tenancy.scope import scope
from tenancy.webhooks import services as webhooks
from tenancy.webhooks.models import Event
from tests.factories import Tenant
from tests.targets import Received, Target, says
from tests.tenancy.audit.streams.conftest import AddStream
from tests.tenancy.audit.streams.streamed import (
    aside,
    assert_proved,
    batches,
    happen,
    log_of,
    make_due,
    size_of,
    stream_of,
)
from tests.trail import audited


def hang(target: Target) -> Any:
    return lambda wire, request: target.over.wait(30)


def cut(target: Target) -> Any:
    def behave(wire: Any, request: Received) -> None:
        wire.sendall(b"HTTP/1.1 200")
        wire.shutdown(2)

    return behave


@pytest.mark.parametrize(
    ("bad", "status", "code", "said"),
    [
        (lambda target: says(500, b"boom"), 500, "", "Answered 500."),
        (lambda target: says(401), 401, "", "check the credentials"),
        (lambda target: says(302, Location="http://169.254.169.254/"), 302, "", "redirects are not followed"),
        (hang, None, "timeout", "no answer within"),
        (cut, None, "protocol", "ended the connection"),
    ],
    ids=["500", "401", "redirect", "hangs", "breaks off"],
)
def test_a_bad_answer_moves_nothing_and_is_tried_again(
    tenant: Tenant,
    target: Target,
    add: AddStream,
    monkeypatch: pytest.MonkeyPatch,
    bad: Any,
    status: int | None,
    code: str,
    said: str,
) -> None:
    monkeypatch.setattr(parcels, "TIMEOUT", 0.5)
    new = add(tenant, options={"url": target.url})
    happen(tenant, 1)
    target.behaviour = bad(target)
    engine.deliver()
    [one] = log_of(tenant)
    assert (one.status, one.code, one.has_arrived) == (status, code, False)
    assert said in one.sentence
    stream = stream_of(tenant, new)
    assert (stream.next_seq, stream.failures, stream.condition) == (0, 1, "failing")
    assert engine.deliver() == 0, "it waits for its pause"
    target.behaviour = says(200)
    make_due(tenant)
    engine.deliver()
    assert (stream_of(tenant, new).next_seq, stream_of(tenant, new).failures) == (size_of(tenant), 0)
    ids = [one.headers["webhook-id"] for one in target.received]
    assert ids[0] == ids[1], "the same batch has the same id"


def test_a_target_that_says_when_is_left_alone_until_then(tenant: Tenant, target: Target, add: AddStream) -> None:
    new = add(tenant, options={"url": target.url})
    happen(tenant, 1)
    target.behaviour = says(429, Retry_After="1800")
    before = timezone.now()
    engine.deliver()
    assert timedelta(minutes=29) < stream_of(tenant, new).due_at - before < timedelta(minutes=31)


def refuses(*names: bytes, status: int = 400) -> Any:
    def behave(wire: Any, request: Received) -> None:
        says(status if any(name in request.body for name in names) else 200)(wire, request)

    return behave


def test_an_event_that_is_refused_is_found_tried_and_set_aside_and_the_others_go_on(
    tenant: Tenant, target: Target, add: AddStream
) -> None:
    new = add(tenant, options={"url": target.url})
    happen(tenant, 30)
    happen(tenant, 1, name="POISON")
    size = happen(tenant, 30)
    target.behaviour = refuses(b"POISON")
    for _ in range(60):
        engine.deliver(budget=60)
        make_due(tenant)
    [letter] = aside(tenant)
    assert letter.status == 400
    assert stream_of(tenant, new).next_seq == size
    arrived = [
        event["seq"]
        for batch in batches(target)
        if b"POISON" not in json.dumps(batch).encode()
        for event in batch["events"]
    ]
    assert arrived == [seq for seq in range(size) if seq != letter.seq]
    alone = [batch for batch in batches(target) if [event["seq"] for event in batch["events"]] == [letter.seq]]
    assert len(alone) == progress.MOST_REFUSALS
    assert stream_of(tenant, new).failures == 0
    again = services.resend(actor=tenant.actor, organization_id=tenant.organization.pk, letter_id=letter.pk)
    assert not again.has_arrived
    target.behaviour = says(200)
    again = services.resend(actor=tenant.actor, organization_id=tenant.organization.pk, letter_id=letter.pk)
    assert (again.has_arrived, again.reason, again.first) == (True, Delivery.Reason.RESEND, letter.seq)
    assert aside(tenant)[0].resent_at is not None
    with scope(tenant.organization):
        assert_proved(batches(target)[-1]["proof"], batches(target)[-1]["events"])
        assert len(audited(actions.STREAM_RESENT.name)) == 2
        assert selectors.stream(new.stream.pk).set_aside == 0


def test_a_target_that_refuses_everything_is_paused_and_loses_few(
    tenant: Tenant, target: Target, add: AddStream
) -> None:
    new = add(tenant, options={"url": target.url})
    happen(tenant, 20)
    target.behaviour = says(422)
    for _ in range(60):
        engine.deliver(budget=60)
        make_due(tenant)
    stream = stream_of(tenant, new)
    assert (stream.state, len(aside(tenant))) == ("paused", progress.MOST_ASIDE_IN_ROW)
    assert "It refused 10 events" in stream.state_reason


def test_a_day_of_failures_pauses_a_stream_and_tells_people_and_endpoints(
    tenant: Tenant, target: Target, add: AddStream, django_capture_on_commit_callbacks: Any
) -> None:
    with scope(tenant.organization):
        webhooks.create(actor=tenant.actor, url="https://hooks.example.com/in")
    new = add(tenant, options={"url": f"{target.url}?token=hidden"})
    happen(tenant, 1)
    target.behaviour = says(503)
    engine.deliver()
    with scope(tenant.organization):
        day_ago = timezone.now() - timedelta(days=1, minutes=1)
        Stream.objects.update(failures=9, failing_since=day_ago, due_at=timezone.now())
    with django_capture_on_commit_callbacks(execute=True):
        engine.deliver()
    stream = stream_of(tenant, new)
    assert (stream.state, stream.next_seq) == ("paused", 0)
    [message] = mail.outbox
    assert message.to == [tenant.owner.email]
    assert stream.state_reason in message.body
    assert "hidden" not in message.body
    with scope(tenant.organization):
        [told] = Event.objects.filter(type="organization.audit.stream_stopped")
        assert json.loads(told.body)["data"]["stream_id"] == str(stream.pk)
        [event] = audited(actions.STREAM_PAUSED.name)
        assert (event.actor["kind"], event.changes["state"]) == ("system", ["active", "paused"])
    make_due(tenant)
    assert engine.deliver() == 0
    target.behaviour = says(200)
    with scope(tenant.organization):
        services.resume(actor=tenant.actor, stream_id=stream.pk)
        assert audited(actions.STREAM_RESUMED.name)
    engine.deliver()
    assert stream_of(tenant, new).next_seq >= 1


def test_a_target_that_is_gone_is_asked_no_more(tenant: Tenant, target: Target, add: AddStream) -> None:
    new = add(tenant, options={"url": target.url})
    happen(tenant, 1)
    target.behaviour = says(410)
    engine.deliver()
    assert stream_of(tenant, new).state == "disabled"
    with scope(tenant.organization):
        assert audited(actions.STREAM_DISABLED.name)
