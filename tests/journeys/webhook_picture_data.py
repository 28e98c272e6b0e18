"""Endpoints for the pictures: one with a log in every state, one that was paused; sent for real to a server of ours."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from tenancy.audit.services import Actor
from tenancy.models import Organization, Project
from tenancy.scope import scope
from tenancy.webhooks import catalogue, delivery, events, services
from tenancy.webhooks.models import Attempt, Delivery, Endpoint
from tests.targets import Target, says

WORKING, PAUSED = "https://hooks.northwind.example/capsule", "https://old-crm.northwind.example/in"
TOLD: tuple[tuple[catalogue.EventType, dict[str, Any]], ...] = (
    (catalogue.PLAN_CHANGED, {"before": "free", "after": "pro"}),
    *(
        (catalogue.SESSION_SEALED, {"session_id": f"chat-{1040 + n}", "capsule_id": f"cap_{n}", "user_id": "dana"})
        for n in range(6)
    ),
    (catalogue.PAYMENT_FAILED, {"invoice": "in_1QzX2b", "amount_due": 4_700, "currency": "usd"}),
)


def listen(organization: Organization, actor: Actor, project: Project) -> dict[str, str]:
    """Paths below the organization: `webhooks`, `webhook`, `webhook-delivery` of one that was tried again."""
    with Target() as server:
        with scope(organization):
            endpoint = services.create(
                actor=actor, url=server.url, description="CRM", event_types=["billing.*", "memory.session.sealed"]
            ).endpoint
            old = services.create(actor=actor, url=PAUSED, description="Before the move").endpoint
            yesterday = timezone.now() - timedelta(days=1)
            why = f"Nothing arrived since {yesterday:%-d %b %Y, %H:%M} UTC, in 61 rounds of attempts."
            Endpoint.objects.filter(pk=old.pk).update(state=Endpoint.State.PAUSED, state_reason=why)
        for number, (kind, data) in enumerate(TOLD):
            is_last = number == len(TOLD) - 1
            if is_last:
                server.behaviour = says(503, b'{"error": "maintenance"}', Content_Type="application/json")
            with scope(organization):
                of = project.pk if kind.of_project else None
                events.emit(kind, data=data, key=f"picture:{number}", project_id=of)
            _sent(organization, endpoint)
        server.behaviour = says(200, b"ok")
        with scope(organization):
            services.send_test(actor=actor, endpoint_id=endpoint.pk)
        _sent(organization, endpoint)
        with scope(organization):
            late = Delivery.objects.filter(endpoint=endpoint, last_status=503).latest("id")
            Endpoint.objects.filter(pk=endpoint.pk).update(retry_at=None)
            Delivery.objects.filter(pk=late.pk).update(due_at=timezone.now())
        _sent(organization, endpoint)
        with scope(organization):
            Endpoint.objects.filter(pk=endpoint.pk).update(url=WORKING)
            for attempt in Attempt.objects.filter(endpoint_id=endpoint.pk):
                attempt.request["url"] = WORKING
                attempt.save(update_fields=["request"])
    delivery.door().close()
    delivery.door.cache_clear()
    return {
        "webhooks": "webhooks/",
        "webhook": f"webhooks/{endpoint.pk}/",
        "webhook-delivery": f"webhooks/deliveries/{late.pk}/",
    }


def _sent(organization: Organization, endpoint: Endpoint) -> None:
    """Send what is due, here or in the worker beside us; ends when nothing waits for its first attempt."""
    for _ in range(100):
        delivery.deliver()
        with scope(organization):
            waiting = Delivery.objects.filter(
                endpoint=endpoint, state=Delivery.State.PENDING, due_at__lte=timezone.now()
            )
            if not waiting.exists():
                return
    raise RuntimeError("Webhooks of the pictures do not arrive: is the service running?")
