"""Deliveries: signed, once when all is well, again when not, in turns between organizations, in order on request."""

import base64
import json
import threading
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

from capsule_cloud.lib import crypto, http
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope, unscoped
from tenancy.services import organizations
from tenancy.webhooks import delivery, services, signing
from tenancy.webhooks.models import Delivery, Endpoint
from tests.factories import Tenant
from tests.targets import Target, says
from tests.tenancy.webhooks.conftest import AddEndpoint, attempts, deliveries, endpoint_of, happen, make_due
from tests.trail import audited


def test_an_event_arrives_signed_as_the_specification_s_own_library_wants_it(
    tenant: Tenant, target: Target, add: AddEndpoint
) -> None:
    new = add(tenant, target.url)
    happen(tenant)
    assert delivery.deliver() == 1
    [got] = target.received
    payload = Webhook(new.secret).verify(got.body, got.headers)
    assert payload["type"] == "memory.session.sealed"
    assert payload["data"] == {"session_id": "session-0", "capsule_id": "cap-0", "user_id": "dana"}
    assert payload["organization_id"] == str(tenant.organization.pk)
    assert payload["project_id"] == str(tenant.project.pk)
    assert got.headers["webhook-id"] == payload["id"]
    assert got.headers["content-type"] == "application/json"
    [sent] = deliveries(tenant)
    assert (sent.state, sent.attempts, sent.last_status) == ("delivered", 1, 200)


def test_the_asymmetric_signature_holds_too(tenant: Tenant, target: Target, add: AddEndpoint) -> None:
    new = add(tenant, target.url)
    happen(tenant)
    delivery.deliver()
    [got] = target.received
    texts = dict(text.split(",") for text in got.headers["webhook-signature"].split(" "))
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    public = signing.unseal(bytes(endpoint_of(tenant, new).sealed_keys)).public_text
    assert public.startswith("whpk_")
    decode = base64.b64decode
    assert crypto.verifies(decode(public.removeprefix("whpk_")), decode(texts["v1a"]), signed)
    assert not crypto.verifies(decode(public.removeprefix("whpk_")), decode(texts["v1a"]), signed + b" ")


def test_both_secrets_verify_during_a_rotation_and_only_the_new_one_after_it(
    tenant: Tenant, target: Target, add: AddEndpoint
) -> None:
    old = add(tenant, target.url)
    with scope(tenant.organization):
        new = services.rotate(actor=tenant.actor, endpoint_id=old.endpoint.pk)
    happen(tenant, prefix="during")
    delivery.deliver()
    during = target.received[-1]
    for secret in (old.secret, new.secret):
        Webhook(secret).verify(during.body, during.headers)
    with scope(tenant.organization):
        Endpoint.objects.update(previous_until=timezone.now() - timedelta(seconds=1))
    happen(tenant, prefix="after")
    delivery.deliver()
    after = target.received[-1]
    Webhook(new.secret).verify(after.body, after.headers)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook(old.secret).verify(after.body, after.headers)


def test_a_failure_is_tried_again_with_the_same_id_and_the_same_bytes(
    tenant: Tenant, target: Target, add: AddEndpoint
) -> None:
    new = add(tenant, target.url)
    target.behaviour = says(500, b"out of order")
    happen(tenant)
    delivery.deliver()
    [waiting] = deliveries(tenant)
    assert (waiting.state, waiting.attempts, waiting.last_status) == ("pending", 1, 500)
    assert timedelta(seconds=4) < waiting.due_at - timezone.now() < timedelta(seconds=7)
    assert delivery.deliver() == 0  # not yet
    target.behaviour = says(204)
    make_due(tenant)
    assert delivery.deliver() == 1
    first, second = target.received
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert endpoint_of(tenant, new).failures == 0
    assert [one.state for one in deliveries(tenant)] == ["delivered"]
    assert [(one.number, one.status, one.has_arrived) for one in attempts(tenant)] == [(1, 500, False), (2, 204, True)]


def test_the_log_shows_what_was_sent_and_answered_without_secrets(
    tenant: Tenant, target: Target, add: AddEndpoint
) -> None:
    new = add(tenant, f"{target.url}?token=hunter2")
    target.behaviour = says(
        400, b"a\0b\xff" + b"x" * 5000, Set_Cookie="session=1", Content_Type="text/plain", Server="S"
    )
    happen(tenant)
    delivery.deliver()
    [one] = attempts(tenant)
    assert one.request["url"] == target.url
    assert one.request["headers"]["webhook-signature"] == "v1,… v1a,…"
    assert one.response["headers"] == {"Content-Type": "text/plain", "Server": "S", "Content-Length": "5004"}
    assert one.response["body"].startswith("a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}xxx")
    assert (len(one.response["body"]), one.response["is_whole"]) == (delivery.SHOWN_OF_A_BODY, False)
    everything = json.dumps([one.request, one.response, one.sentence])
    assert "hunter2" not in everything
    assert new.secret not in everything
    assert "session=1" not in everything


def answer(status: int, **headers: str) -> http.Answer:
    return http.Answer(status, tuple((name.replace("_", "-"), value) for name, value in headers.items()), b"", True)


def test_it_is_tried_ten_times_in_three_days_and_then_given_up() -> None:
    waited = []
    for attempt in range(1, delivery.MOST_ATTEMPTS):
        outcome = delivery.judge(answer(500), attempt=attempt, is_test=False)
        assert outcome.outcome == "retry"
        waited.append(outcome.retry_in or 0)
    assert 3 * 86_400 < sum(waited) < 4 * 86_400
    assert all(later > earlier for earlier, later in pairwise(waited))
    assert delivery.judge(answer(500), attempt=delivery.MOST_ATTEMPTS, is_test=False).outcome == "dead"


def test_pauses_are_spread() -> None:
    pauses = {delivery.judge(answer(500), attempt=3, is_test=False).retry_in for _ in range(20)}
    assert len(pauses) == 20
    assert all(1_800 <= (pause or 0) <= 2_160 for pause in pauses)


@pytest.mark.parametrize("status", [429, 503])
def test_an_endpoint_that_says_when_is_left_alone_until_then(
    tenant: Tenant, target: Target, add: AddEndpoint, status: int
) -> None:
    new = add(tenant, target.url, succeeded=True)
    target.behaviour = says(status, Retry_After="1200")
    happen(tenant, 1)
    delivery.deliver()
    happen(tenant, 3, "more")
    assert delivery.deliver() == 0  # the others wait as well
    held = endpoint_of(tenant, new).retry_at
    assert held is not None
    assert timedelta(minutes=19) < held - timezone.now() <= timedelta(minutes=20)
    first = deliveries(tenant)[0]
    assert first.due_at >= held - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("0", 0, 0),
        ("120", 120, 120),
        ("999999999999", 86_400, 86_400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400, 86_400),
    ],
)
def test_retry_after_is_honoured_within_a_day(text: str, low: float, high: float) -> None:
    assert low <= (delivery.judge(answer(429, retry_after=text), attempt=1, is_test=False).hold or 0) <= high


@pytest.mark.parametrize("text", ["", "soon", "-5", "١٢", "Wed, 99 Oct 2015 07:28:00 GMT", "1.5"])
def test_a_retry_after_that_says_nothing_is_none(text: str) -> None:
    outcome = delivery.judge(answer(429, retry_after=text), attempt=1, is_test=False)
    assert outcome.hold is None
    assert 5 <= (outcome.retry_in or 0) <= 6


@pytest.mark.parametrize("status", [100, 301, 302, 307, 400, 401, 404, 409, 422, 500, 502])
def test_anything_but_success_is_tried_again(status: int) -> None:
    assert delivery.judge(answer(status), attempt=1, is_test=False).outcome == "retry"


def test_gone_disables_and_tells(
    tenant: Tenant, target: Target, add: AddEndpoint, mailoutbox: Any, django_capture_on_commit_callbacks: Any
) -> None:
    new = add(tenant, target.url)
    target.behaviour = says(410)
    happen(tenant, 3)
    with django_capture_on_commit_callbacks(execute=True):
        delivery.deliver()
    endpoint = endpoint_of(tenant, new)
    assert (endpoint.state, endpoint.state_reason) == ("disabled", "It answered 410 Gone.")
    assert [one.state for one in deliveries(tenant)] == ["dead"] * 3
    assert len(target.received) == 1
    [mail] = [one for one in mailoutbox if one.to == [tenant.owner.email]]
    assert mail.subject == "A webhook endpoint is gone"
    assert str(endpoint.pk) in mail.body
    happen(tenant, 1, "later")
    assert len(deliveries(tenant)) == 3
    with scope(tenant.organization):
        assert len(audited(actions.WEBHOOK_DISABLED.name, actor="system")) == 1


def test_a_day_of_failures_pauses_and_tells_and_what_happens_meanwhile_waits(
    tenant: Tenant, target: Target, add: AddEndpoint, mailoutbox: Any, django_capture_on_commit_callbacks: Any
) -> None:
    new = add(tenant, target.url)
    target.behaviour = says(500)
    happen(tenant)
    with scope(tenant.organization):
        Endpoint.objects.update(failures=8, failing_since=timezone.now() - timedelta(hours=25))
    delivery.deliver()
    assert endpoint_of(tenant, new).state == "active"  # nine rounds are not ten
    make_due(tenant)
    with django_capture_on_commit_callbacks(execute=True):
        delivery.deliver()
    endpoint = endpoint_of(tenant, new)
    assert endpoint.state == "paused"
    assert "in 10 rounds" in endpoint.state_reason
    [mail] = [one for one in mailoutbox if one.to == [tenant.owner.email]]
    assert mail.subject == "A webhook endpoint is paused"
    assert endpoint.state_reason in mail.body
    with scope(tenant.organization):
        assert AuditEvent.objects.filter(action=actions.WEBHOOK_PAUSED.name).count() == 1
    happen(tenant, 2, "meanwhile")
    make_due(tenant)
    assert delivery.deliver() == 0
    target.behaviour = says(200)
    with scope(tenant.organization):
        services.enable(actor=tenant.actor, endpoint_id=endpoint.pk)
    assert delivery.deliver() == 3
    assert {one.state for one in deliveries(tenant)} == {"delivered"}


def test_a_failing_endpoint_is_asked_once_a_round_and_rounds_grow_apart(
    tenant: Tenant, target: Target, add: AddEndpoint
) -> None:
    new = add(tenant, target.url, succeeded=True)
    target.behaviour = says(500)
    happen(tenant, 20)
    delivery.deliver()
    assert len(target.received) <= delivery.EACH
    pauses = []
    for _ in range(8):
        make_due(tenant)
        before = len(target.received)
        assert delivery.deliver() == 1
        assert len(target.received) == before + 1
        pauses.append(((endpoint_of(tenant, new).retry_at or timezone.now()) - timezone.now()).total_seconds())
    longest = delivery.LONGEST_PAUSE - 10
    assert all(later > earlier or later > longest for earlier, later in pairwise(pauses))
    assert pauses[-1] < delivery.LONGEST_PAUSE * 1.2 + 1


def test_an_ordered_endpoint_gets_one_after_the_other_and_none_before_its_turn(
    tenant: Tenant, target: Target, add: AddEndpoint
) -> None:
    add(tenant, target.url, is_ordered=True, succeeded=True)
    happen(tenant, 12)
    target.behaviour = says(500)
    delivery.deliver()
    assert len(target.received) == 1
    target.behaviour = says(200)
    with scope(tenant.organization):
        Endpoint.objects.update(retry_at=None)
    assert delivery.deliver() == 0  # the first one is not due, so no other goes
    make_due(tenant)
    assert delivery.deliver() == 12
    order = [json.loads(one.body)["data"]["session_id"] for one in target.received[1:]]
    assert order == [f"session-{n}" for n in range(12)]
    assert target.most_at_once == 1


def test_an_endpoint_that_works_gets_several_at_once(tenant: Tenant, target: Target, add: AddEndpoint) -> None:
    add(tenant, target.url, succeeded=True)
    together = threading.Barrier(delivery.EACH)

    def behave(wire: Any, request: Any) -> None:
        together.wait(20)  # answers nobody until so many are there
        says(200)(wire, request)

    target.behaviour = behave
    happen(tenant, delivery.EACH * 2)
    assert delivery.deliver() == delivery.EACH * 2
    assert target.most_at_once == delivery.EACH


def test_an_endpoint_that_never_answered_gets_one_at_a_time(tenant: Tenant, target: Target, add: AddEndpoint) -> None:
    add(tenant, target.url)
    happen(tenant, 5)
    with unscoped(reason="a test claims") as wide:
        assert len(wide.rows("webhooks_claim", 64, delivery.EACH, delivery.OF_ONE, 10, delivery.LEASE)) == 1
        assert wide.rows("webhooks_claim", 64, delivery.EACH, delivery.OF_ONE, 10, delivery.LEASE) == []


def claim(slots: int = 64) -> list[Any]:
    return delivery._claim(slots)


def test_organizations_take_turns(tenant: Tenant, stranger: Tenant, target: Target, add: AddEndpoint) -> None:
    for n in range(6):
        add(tenant, f"{target.url}/{n}", succeeded=True)
    add(stranger, target.url, succeeded=True)
    happen(tenant, 20)
    happen(stranger, 3)
    ours = [one for one in claim(8) if one.organization_id in {tenant.organization.pk, stranger.organization.pk}]
    assert sum(one.organization_id == stranger.organization.pk for one in ours) == 3
    for _ in range(10):
        claim()
    busy = [one for one in deliveries(tenant) if one.leased_until]
    assert len(busy) <= delivery.OF_ONE
    assert max(Counter(one.endpoint_id for one in busy).values()) <= delivery.EACH


def test_what_a_killed_worker_had_is_taken_when_its_lease_is_over(
    tenant: Tenant, target: Target, add: AddEndpoint
) -> None:
    add(tenant, target.url, succeeded=True)
    happen(tenant, 2)
    assert len(claim()) == 2
    assert delivery.deliver() == 0
    with scope(tenant.organization):
        Delivery.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert delivery.deliver() == 2
    assert [(one.state, one.attempts) for one in deliveries(tenant)] == [("delivered", 2)] * 2


def test_a_delivery_that_kills_every_worker_is_given_up(tenant: Tenant, target: Target, add: AddEndpoint) -> None:
    add(tenant, target.url, succeeded=True)
    happen(tenant)
    with scope(tenant.organization):
        Delivery.objects.update(leased_until=timezone.now() - timedelta(seconds=1), attempts=delivery.MOST_ATTEMPTS)
    assert delivery.deliver() == 0
    [dead] = deliveries(tenant)
    assert (dead.state, dead.last_code) == ("dead", "lost")


def test_a_late_failure_undoes_nothing_of_another_worker_s(tenant: Tenant, target: Target, add: AddEndpoint) -> None:
    add(tenant, target.url, succeeded=True)
    happen(tenant)
    [first] = claim()
    with scope(tenant.organization):
        Delivery.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    [second] = claim()
    target.behaviour = says(500)
    delivery._settle([delivery.send(first, delivery.door())])
    [still] = deliveries(tenant)
    assert still.leased_until is not None  # the second worker's
    target.behaviour = says(200)
    delivery._settle([delivery.send(second, delivery.door())])
    delivery._settle([delivery.send(first, delivery.door())])
    [done] = deliveries(tenant)
    assert (done.state, done.attempts) == ("delivered", 2)
    assert len(attempts(tenant)) == 3


def test_a_closed_organization_is_sent_nothing(tenant: Tenant, target: Target, add: AddEndpoint) -> None:
    add(tenant, target.url)
    happen(tenant)
    with scope(tenant.organization):
        organizations.close(actor=tenant.actor)
    assert delivery.deliver() == 0


def test_old_logs_end_and_old_deliveries_are_given_up(tenant: Tenant, target: Target, add: AddEndpoint) -> None:
    add(tenant, target.url, succeeded=True)
    happen(tenant, 3)
    delivery.deliver()
    happen(tenant, 2, "waiting")
    assert delivery.tidy() == (0, 0)
    _age(tenant, timezone.now() - services.WAITS - timedelta(days=1), state="pending")
    assert delivery.tidy() == (2, 0)
    assert {one.last_code for one in deliveries(tenant, state="dead")} == {"expired"}
    long_ago = timezone.now() - services.KEPT - timedelta(days=1)
    _age(tenant, long_ago, state="dead")
    assert delivery.tidy() == (0, 2)
    assert [one.state for one in deliveries(tenant)] == ["delivered"] * 3


def _age(tenant: Tenant, at: datetime, **which: Any) -> None:
    """Give deliveries the ids that they would have if they had been made then."""
    with scope(tenant.organization):
        for n, one in enumerate(Delivery.objects.filter(**which)):
            Delivery.objects.filter(pk=one.pk).update(id=UUID(int=(int(at.timestamp() * 1000) << 80) + n))
