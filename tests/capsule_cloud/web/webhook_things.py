"""Makes one of every thing of webhooks that an address can name."""

from tenancy.scope import scope
from tenancy.webhooks import catalogue, events, services
from tenancy.webhooks.models import Delivery, Endpoint
from tests.factories import Tenant


def make_webhook_things(tenant: Tenant) -> dict[str, str]:
    """Path parameters; called again, it makes again what was taken away."""
    with scope(tenant.organization):
        endpoint = Endpoint.objects.exclude(state=Endpoint.State.DELETED).first()
        if endpoint is None:
            endpoint = services.create(actor=tenant.actor, url="https://hooks.example.com/in").endpoint
        Endpoint.objects.update(previous_until=None, state=Endpoint.State.ACTIVE)
        data = {"before": "free", "after": "pro"}
        events.emit(catalogue.PLAN_CHANGED, data=data, key=f"plan:{endpoint.pk}")
        delivery = Delivery.objects.filter(endpoint=endpoint, event__key=f"plan:{endpoint.pk}").earliest("number")
        Delivery.objects.filter(pk=delivery.pk).update(state=Delivery.State.DEAD)
    return {"endpoint_id": str(endpoint.pk), "delivery_id": str(delivery.pk)}
