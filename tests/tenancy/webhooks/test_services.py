"""Endpoints: who is told what, secrets that are shown once, tests, resends and replays; all of it in the trail."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.scope import scope
from tenancy.services import projects
from tenancy.webhooks import delivery, services, signing
from tenancy.webhooks.models import Delivery, Endpoint
from tests.factories import Tenant
from tests.targets import Target, says
from tests.tenancy.webhooks.conftest import AddEndpoint, deliveries, endpoint_of, happen

URL = "https://hooks.example.com/in?token=hunter2"


def trail(tenant: Tenant, action: actions.Action) -> list[AuditEvent]:
    with scope(tenant.organization):
        return list(AuditEvent.objects.filter(action=action.name))


def test_an_endpoint_s_secrets_are_encrypted_and_nowhere_else(tenant: Tenant, add: AddEndpoint) -> None:
    new = add(tenant, URL, description="  CRM \n sync ", event_types=["billing.*", "billing.cap.reached"])
    endpoint = endpoint_of(tenant, new)
    assert (endpoint.description, endpoint.event_types) == ("CRM sync", ["billing.*"])
    keys = signing.unseal(bytes(endpoint.sealed_keys))
    assert new.secret == keys.secret_text
    assert new.secret.startswith("whsec_")
    assert keys.secret not in bytes(endpoint.sealed_keys)
    [event] = trail(tenant, actions.WEBHOOK_CREATED)
    assert event.target["label"] == "https://hooks.example.com/in"
    assert new.secret not in str(event.__dict__)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "https://169.254.169.254/"}, "url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "url"),
        ({"event_types": ["billing.nothing"]}, "event_types"),
        ({"event_types": ["webhooks.test"]}, "event_types"),
        ({"project_ids": [uuid4()]}, "project_ids"),
        ({"description": "x" * 201}, "description"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(
    tenant: Tenant, add: AddEndpoint, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        add(tenant, **{"url": URL} | wrong)
    assert refused.value.field == field
    new = add(tenant, URL)
    with scope(tenant.organization), pytest.raises(Invalid):
        services.update(actor=tenant.actor, endpoint_id=new.endpoint.pk, **wrong)


def test_there_is_an_end_to_endpoints(tenant: Tenant, add: AddEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_ENDPOINTS", 1)
    new = add(tenant, URL)
    with pytest.raises(LimitReached):
        add(tenant, URL)
    with scope(tenant.organization):
        services.delete(actor=tenant.actor, endpoint_id=new.endpoint.pk)
    add(tenant, URL)


def test_an_endpoint_is_told_what_it_asks_for_alone(tenant: Tenant, add: AddEndpoint) -> None:
    with scope(tenant.organization):
        other = projects.create(actor=tenant.actor, name="Other")
    chosen = {
        "all": add(tenant, f"{URL}&all"),
        "memory": add(tenant, f"{URL}&memory", event_types=["memory.*"]),
        "sealed": add(tenant, f"{URL}&sealed", event_types=["memory.session.sealed"]),
        "billing": add(tenant, f"{URL}&billing", event_types=["billing.*"]),
        "here": add(tenant, f"{URL}&here", project_ids=[tenant.project.pk]),
        "there": add(tenant, f"{URL}&there", project_ids=[other.pk]),
    }
    happen(tenant)
    told = {one.endpoint.pk for one in deliveries(tenant, event__type="memory.session.sealed")}
    assert told == {chosen[name].endpoint.pk for name in ("all", "memory", "sealed", "here")}


def test_a_changed_endpoint_is_told_by_what_it_asks_now(tenant: Tenant, add: AddEndpoint) -> None:
    new = add(tenant, URL, event_types=["billing.*"])
    with scope(tenant.organization):
        change: dict[str, Any] = {"event_types": ["memory.*"], "is_ordered": True}
        change["url"] = "https://other.example.com/?t=hunter3"
        services.update(actor=tenant.actor, endpoint_id=new.endpoint.pk, **change)
        services.update(actor=tenant.actor, endpoint_id=new.endpoint.pk, **change)  # changes nothing, says nothing
    happen(tenant)
    assert len(deliveries(tenant)) == 1
    [event] = trail(tenant, actions.WEBHOOK_UPDATED)
    assert event.changes["url"][1] == "https://other.example.com/"


def test_a_disabled_endpoint_is_told_nothing_and_an_enabled_one_again(
    tenant: Tenant, target: Target, add: AddEndpoint
) -> None:
    new = add(tenant, target.url)
    happen(tenant, 1, "before")
    with scope(tenant.organization):
        services.disable(actor=tenant.actor, endpoint_id=new.endpoint.pk)
    happen(tenant, 1, "meanwhile")
    assert delivery.deliver() == 0
    with scope(tenant.organization):
        services.enable(actor=tenant.actor, endpoint_id=new.endpoint.pk)
    happen(tenant, 1, "after")
    assert delivery.deliver() == 1
    assert [(one.event.key, one.state) for one in deliveries(tenant)] == [
        ("sealed:before-0", "dead"),
        ("sealed:after-0", "delivered"),
    ]
    assert len(trail(tenant, actions.WEBHOOK_ENABLED)) == 1


def test_a_deleted_endpoint_is_gone_with_its_secrets(tenant: Tenant, target: Target, add: AddEndpoint) -> None:
    new = add(tenant, target.url)
    happen(tenant)
    with scope(tenant.organization):
        services.delete(actor=tenant.actor, endpoint_id=new.endpoint.pk)
        for call in (services.delete, services.enable, services.disable, services.rotate, services.send_test):
            with pytest.raises(NotFound):
                call(actor=tenant.actor, endpoint_id=new.endpoint.pk)
    assert delivery.deliver() == 0
    endpoint = endpoint_of(tenant, new)
    assert (bytes(endpoint.sealed_keys), endpoint.state) == (b"", "deleted")
    with scope(tenant.organization), pytest.raises(NotFound):
        services.resend(actor=tenant.actor, delivery_id=Delivery.objects.get().pk)
    assert len(trail(tenant, actions.WEBHOOK_DELETED)) == 1


def test_two_secrets_live_and_never_three(tenant: Tenant, add: AddEndpoint) -> None:
    new = add(tenant, URL)
    with scope(tenant.organization):
        services.rotate(actor=tenant.actor, endpoint_id=new.endpoint.pk, overlap=timedelta(hours=1))
        with pytest.raises(Conflict, match="without an overlap"):
            services.rotate(actor=tenant.actor, endpoint_id=new.endpoint.pk)
        services.rotate(actor=tenant.actor, endpoint_id=new.endpoint.pk, overlap=timedelta(0))
        for overlap in (timedelta(days=8), timedelta(seconds=-1)):
            with pytest.raises(Invalid):
                services.rotate(actor=tenant.actor, endpoint_id=new.endpoint.pk, overlap=overlap)
    endpoint = endpoint_of(tenant, new)
    assert (endpoint.sealed_previous, endpoint.previous_until) == (None, None)
    assert len(trail(tenant, actions.WEBHOOK_SECRET_ROTATED)) == 2


@pytest.mark.parametrize("state", ["active", "paused", "disabled"])
def test_a_test_goes_out_at_once_whatever_the_state_and_once(
    tenant: Tenant, target: Target, add: AddEndpoint, state: str
) -> None:
    new = add(tenant, target.url, is_ordered=True)
    happen(tenant, 3)
    with scope(tenant.organization):
        Endpoint.objects.update(state=state, retry_at=timezone.now() + timedelta(hours=1), failures=5)
        sent = services.send_test(actor=tenant.actor, endpoint_id=new.endpoint.pk)
    target.behaviour = says(500)
    assert delivery.deliver() == 1
    [test] = deliveries(tenant, reason="test")
    assert (test.pk, test.state, test.attempts, test.last_status) == (sent.pk, "dead", 1, 500)
    assert endpoint_of(tenant, new).failures == 5  # a test that fails is no failure of the endpoint
    assert len(trail(tenant, actions.WEBHOOK_TESTED)) == 1


def test_a_delivery_is_sent_again_with_the_id_that_it_had(tenant: Tenant, target: Target, add: AddEndpoint) -> None:
    add(tenant, target.url)
    happen(tenant)
    with scope(tenant.organization):
        [waiting] = Delivery.objects.all()
        with pytest.raises(Conflict, match="on its way"):
            services.resend(actor=tenant.actor, delivery_id=waiting.pk)
    delivery.deliver()
    with scope(tenant.organization):
        services.resend(actor=tenant.actor, delivery_id=waiting.pk)
    delivery.deliver()
    first, second = target.received
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert [one.reason for one in deliveries(tenant)] == ["event", "resend"]
    assert len(trail(tenant, actions.WEBHOOK_RESENT)) == 1


def test_a_replay_sends_what_was_missed_in_order_and_nothing_twice(
    tenant: Tenant, target: Target, add: AddEndpoint
) -> None:
    add(tenant, f"{target.url}/another")  # wants everything, so everything is kept
    happen(tenant, 5)
    delivery.deliver()
    late = add(tenant, target.url, event_types=["memory.*"], is_ordered=True)
    before = timezone.now() - timedelta(days=1)
    with scope(tenant.organization):
        assert services.replay(actor=tenant.actor, endpoint_id=late.endpoint.pk, since=before) == 5
        assert services.replay(actor=tenant.actor, endpoint_id=late.endpoint.pk, since=before) == 0
        services.send_test(actor=tenant.actor, endpoint_id=late.endpoint.pk)
    target.received.clear()
    delivery.deliver()
    got = [one.body for one in target.received if b"webhooks.test" not in one.body]
    assert [f'"session-{n}"'.encode() in body for n, body in enumerate(got)] == [True] * 5
    with scope(tenant.organization):
        assert services.replay(actor=tenant.actor, endpoint_id=late.endpoint.pk, since=before) == 5  # no tests
        for wrong in ({"since": before - timedelta(days=40)}, {"since": timezone.now() + timedelta(hours=1)}):
            with pytest.raises(Invalid):
                services.replay(actor=tenant.actor, endpoint_id=late.endpoint.pk, **wrong)
        with pytest.raises(Invalid):
            services.replay(actor=tenant.actor, endpoint_id=late.endpoint.pk, since=before, until=before)
        services.disable(actor=tenant.actor, endpoint_id=late.endpoint.pk)
        with pytest.raises(Conflict):
            services.replay(actor=tenant.actor, endpoint_id=late.endpoint.pk, since=before)
    assert [one.metadata["deliveries"] for one in trail(tenant, actions.WEBHOOK_REPLAYED)] == [5, 0, 5]


def test_a_stranger_finds_no_endpoint_of_ours(tenant: Tenant, stranger: Tenant, add: AddEndpoint) -> None:
    new = add(tenant, URL)
    with scope(stranger.organization):
        for call in (services.delete, services.enable, services.rotate, services.send_test):
            with pytest.raises(NotFound):
                call(actor=stranger.actor, endpoint_id=new.endpoint.pk)
