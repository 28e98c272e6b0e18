"""Webhooks: signed as Stripe signs them, over real HTTP, again and again until somebody answers."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe
from django.conf import LazySettings
from django.utils import timezone

from billing.models import StripeEvent
from billing.sandbox import contract, delivery, keys
from billing.sandbox.models import Answer, Delivery
from billing.sandbox.transport import SandboxTransport
from tests.billing.sandbox.conftest import Account
from tests.live import LiveServer


@dataclass
class Receiver:
    """A server that keeps what it is sent; it answers with `status`."""

    url: str = ""
    status: int = 200
    got: list[tuple[bytes, str]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks on a free port."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.got.append((body, self.headers["Stripe-Signature"]))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's own name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_port}/hook"
        yield found
        server.shutdown()


def endpoint(account: Account, url: str, *events: str) -> str:
    """Register an endpoint; its signing secret."""
    form = {"url": url, "enabled_events": list(events or ("*",))}
    made = account.client.v1.webhook_endpoints.create(form)  # type: ignore[arg-type]
    return str(made.secret)


def of(account: Account) -> Any:
    return Delivery.objects.filter(account=account.name)


def test_an_event_arrives_with_a_signature_that_stripe_python_accepts(account: Account, receiver: Receiver) -> None:
    secret = endpoint(account, receiver.url)
    customer = account.client.v1.customers.create({"name": "Ada"})
    assert delivery.deliver() >= 1
    [(body, signature)] = receiver.got
    event = stripe.Webhook.construct_event(body, signature, secret)
    assert (event.type, event.data.object["id"]) == ("customer.created", customer.id)
    assert event.api_version == "2026-05-27.dahlia"
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, signature, "whsec_other")
    assert account.client.v1.events.retrieve(event.id).pending_webhooks == 0


def test_an_installation_s_events_arrive_in_its_own_inbox(
    live: LiveServer, transactional_db: None, settings: LazySettings
) -> None:
    Delivery.objects.filter(done_at=None).update(done_at=timezone.now())
    settings.PUBLIC_URL = live.url
    own = stripe.StripeClient(keys.secret_key(), http_client=SandboxTransport(), stripe_version=contract.version())
    customer = own.v1.customers.create({"name": "Ada"})
    assert delivery.deliver() == 1
    [event] = [one for one in own.v1.events.list({"limit": 5}).data if one.data.object["id"] == customer.id]
    assert StripeEvent.objects.get(event_id=event.id).type == "customer.created"


def test_an_endpoint_gets_the_events_that_it_asked_for_alone(account: Account, receiver: Receiver) -> None:
    endpoint(account, receiver.url, "invoice.paid")
    account.subscribe(account.customer().id, account.price().id)
    delivery.deliver()
    assert [json.loads(body)["type"] for body, _ in receiver.got] == ["invoice.paid"]


def test_an_event_that_is_refused_comes_again_and_the_same(account: Account, receiver: Receiver) -> None:
    endpoint(account, receiver.url)
    receiver.status = 500
    account.client.v1.customers.create({})
    delivery.deliver()
    delivery.deliver()
    assert len(receiver.got) == 1, "it waits before it comes again"
    row = of(account).get()
    assert (row.attempts, row.last_answer, row.done_at) == (1, "500", None)
    receiver.status = 200
    of(account).update(due_at=timezone.now())
    delivery.deliver()
    assert json.loads(receiver.got[0][0])["id"] == json.loads(receiver.got[1][0])["id"]
    assert of(account).get().done_at is not None


def test_pauses_grow_and_end_after_three_days(account: Account) -> None:
    endpoint(account, "http://127.0.0.1:9/nobody")
    account.client.v1.customers.create({})
    pauses = []
    for _ in range(14):
        of(account).update(due_at=timezone.now())
        delivery.deliver()
        pauses.append((of(account).get().due_at - timezone.now()).total_seconds())
    assert of(account).get().last_answer == "ConnectError"
    assert [round(pause) for pause in pauses] == sorted(round(pause) for pause in pauses)
    assert pauses[0] < 20
    assert 3000 < pauses[-1] < 4000


def test_an_endpoint_that_is_disabled_gets_nothing(account: Account, receiver: Receiver) -> None:
    endpoint(account, receiver.url)
    [made] = account.client.v1.webhook_endpoints.list().data
    account.client.v1.webhook_endpoints.update(made.id, {"disabled": True})
    account.client.v1.customers.create({})
    delivery.deliver()
    assert receiver.got == []


def test_what_is_a_day_old_is_forgotten(account: Account, receiver: Receiver) -> None:
    endpoint(account, receiver.url)
    account.client.v1.customers.create({})
    delivery.deliver()
    old = timezone.now() - timedelta(days=2)
    of(account).update(done_at=old)
    Answer.objects.filter(account=account.name).update(created_at=old)
    delivery.forget_old()
    assert not of(account).exists()
    assert not Answer.objects.filter(account=account.name).exists()
