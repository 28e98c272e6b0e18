"""Checkpoints leave the house: once a day, to who wants them, when there is a new one."""

import logging
from datetime import timedelta

import orjson
import pytest
from django.utils import timezone

from tenancy.audit.sealing import publishing, selectors, tasks
from tenancy.audit.sealing.models import Checkpoint, Publication
from tenancy.scope import scope
from tenancy.services import organizations
from tenancy.webhooks import services
from tenancy.webhooks.models import Event
from tests.factories import Tenant
from tests.sealing import seal_all


@pytest.fixture
def listening(tenant: Tenant) -> Tenant:
    """An organization with an endpoint, and a sealed trail."""
    with scope(tenant.organization):
        services.create(actor=tenant.actor, url="https://hooks.example.com/in")
    seal_all()
    return tenant


def told(tenant: Tenant) -> list[dict[str, object]]:
    with scope(tenant.organization):
        found = Event.objects.filter(type="organization.audit.checkpoint").order_by("number")
        return [orjson.loads(event.body)["data"] for event in found]


def grow(tenant: Tenant, name: str) -> None:
    with scope(tenant.organization):
        organizations.update(actor=tenant.actor, name=name)
    seal_all()


def test_an_endpoint_gets_the_newest_checkpoint_once_a_day_when_there_is_a_new_one(listening: Tenant) -> None:
    assert publishing.publish() >= 1
    [data] = told(listening)
    with scope(listening.organization):
        checkpoint = selectors.latest_checkpoint()
        assert checkpoint is not None
        [published] = publishing.published()
    assert data == {
        "size": checkpoint.size,
        "checkpoint": checkpoint.note,
        "log_checkpoint": selectors.log_head().note,
    }
    assert (published.size, published.via, str(published)) == (checkpoint.size, "webhook", f"{checkpoint.size} webhook")
    grow(listening, "Sooner")
    publishing.publish()
    assert len(told(listening)) == 1
    with scope(listening.organization):
        Publication.objects.update(at=timezone.now() - timedelta(days=1))
    publishing.publish()
    assert len(told(listening)) == 2
    with scope(listening.organization):
        Publication.objects.update(at=timezone.now() - timedelta(days=1))
    publishing.publish()
    assert len(told(listening)) == 2  # nothing is new


def test_who_has_no_endpoint_is_not_asked(tenant: Tenant) -> None:
    seal_all()
    publishing.publish()
    with scope(tenant.organization):
        assert publishing.published() == []


def test_one_organization_s_trouble_is_not_the_others(
    listening: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(checkpoint: Checkpoint) -> bool:
        raise RuntimeError("no")

    monkeypatch.setitem(publishing.WAYS, "webhook", broken)
    with caplog.at_level(logging.ERROR):
        assert publishing.publish() == 0
    assert "audit.publication_failed" in caplog.text


def test_the_schedule_s_tasks_run(listening: Tenant) -> None:
    for task in (tasks.seal, tasks.watch_sealing, tasks.reconcile_seals, tasks.publish_checkpoints):
        task()
    assert len(told(listening)) == 1
