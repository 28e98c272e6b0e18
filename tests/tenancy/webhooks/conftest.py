"""Fixtures of the webhooks' tests: a customer's server, an endpoint that leads there, and the engine."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone

from tenancy.scope import scope
from tenancy.webhooks import catalogue, delivery, events, services
from tenancy.webhooks.models import Attempt, Delivery, Endpoint
from tests.factories import Tenant
from tests.raw import connect
from tests.targets import Target

AddEndpoint = Callable[..., services.NewSecret]


@pytest.fixture(autouse=True)
def _nothing_is_left_to_send(django_db_setup: None) -> None:
    """Give up what other tests left on its way."""
    with connect("superuser") as server:
        server.execute("UPDATE webhooks_delivery SET state = 'dead' WHERE state = 'pending'")


@pytest.fixture(autouse=True)
def _hang_up() -> Iterator[None]:
    """Leave no connection open to a server that is gone."""
    yield
    delivery.door().close()
    delivery.door.cache_clear()


@pytest.fixture
def target() -> Iterator[Target]:
    """A customer's server."""
    with Target() as server:
        yield server


@pytest.fixture
def add() -> AddEndpoint:
    """Adds an endpoint for a tenant; `succeeded` makes it one that is known to work."""

    def made(tenant: Tenant, url: str, *, succeeded: bool = False, **options: Any) -> services.NewSecret:
        with scope(tenant.organization):
            new = services.create(actor=tenant.actor, url=url, **options)
            if succeeded:
                Endpoint.objects.filter(pk=new.endpoint.pk).update(last_success_at=new.endpoint.created_at)
        return new

    return made


def happen(tenant: Tenant, count: int = 1, prefix: str = "session") -> None:
    """Let sessions be sealed, as far as webhooks are concerned."""
    with scope(tenant.organization):
        for n in range(count):
            data = {"session_id": f"{prefix}-{n}", "capsule_id": f"cap-{n}", "user_id": "dana"}
            events.emit(catalogue.SESSION_SEALED, data=data, key=f"sealed:{prefix}-{n}", project_id=tenant.project.pk)


def deliveries(tenant: Tenant, **wanted: Any) -> list[Delivery]:
    """Those of a tenant, in their order."""
    with scope(tenant.organization):
        return list(Delivery.objects.filter(**wanted).select_related("event", "endpoint").order_by("number"))


def attempts(tenant: Tenant) -> list[Attempt]:
    """Those of a tenant, the oldest first."""
    with scope(tenant.organization):
        return list(Attempt.objects.order_by("id"))


def endpoint_of(tenant: Tenant, new: services.NewSecret) -> Endpoint:
    """An endpoint as it is now."""
    with scope(tenant.organization):
        return Endpoint.objects.get(pk=new.endpoint.pk)


def make_due(tenant: Tenant) -> None:
    """Let the pauses of a tenant's deliveries and endpoints be over."""
    with scope(tenant.organization):
        now = timezone.now()
        Delivery.objects.filter(state="pending").update(due_at=now)
        Endpoint.objects.update(retry_at=None)
