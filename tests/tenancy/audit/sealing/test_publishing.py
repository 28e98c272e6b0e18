"""Checkpoints leave the house: once a day, to who wants them, when there is a new one."""

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.core.mail import EmailMessage
from django.test import TestCase
from django.utils import timezone

from capsule_cloud.lib import storage
from tenancy.audit.sealing import publishing, selectors, tasks
from tenancy.audit.sealing.models import Checkpoint, Publication
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import organizations
from tenancy.webhooks import services
from tenancy.webhooks.models import Event
from tests.factories import Tenant, add_member
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
        [published] = [one for one in publishing.published() if one.via == "webhook"]
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


def test_owners_get_it_by_mail_once_a_month(tenant: Tenant, mailoutbox: list[EmailMessage]) -> None:
    add_member(tenant, Role.ADMIN)
    seal_all()
    with TestCase.captureOnCommitCallbacks(execute=True):
        publishing.publish()
    mine = [mail for mail in mailoutbox if tenant.organization.name in str(mail.subject)]
    assert [mail.to for mail in mine] == [[tenant.owner.email]]
    with scope(tenant.organization):
        checkpoint = selectors.latest_checkpoint()
        assert checkpoint is not None
        assert checkpoint.note in mine[0].body
        assert [one.via for one in publishing.published()] == ["email"]
    grow(tenant, "Sooner")
    with TestCase.captureOnCommitCallbacks(execute=True):
        publishing.publish()
    assert len([mail for mail in mailoutbox if mail.to == [tenant.owner.email]]) == 1


def test_a_bucket_gets_it_where_there_is_one(
    tenant: Tenant, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal_all()
    settings.EXPORTS_BUCKET = "s3://somewhere"
    monkeypatch.setattr(storage, "own", lambda: storage.Folder(tmp_path))
    publishing.publish()
    with scope(tenant.organization):
        checkpoint = selectors.latest_checkpoint()
        assert checkpoint is not None
        assert "storage" in [one.via for one in publishing.published()]
    kept = tmp_path / f"audit-checkpoints/{tenant.organization.pk}/{checkpoint.size:020}.txt"
    assert kept.read_text() == checkpoint.note


def test_one_organization_s_trouble_is_not_the_others(
    listening: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(checkpoint: Checkpoint) -> bool:
        raise RuntimeError("no")

    monkeypatch.setattr(publishing, "WAYS", {"webhook": publishing.Way(timedelta(days=1), broken)})
    with caplog.at_level(logging.ERROR):
        assert publishing.publish() == 0
    assert "audit.publication_failed" in caplog.text


def test_the_schedule_s_tasks_run(listening: Tenant) -> None:
    for task in (tasks.seal, tasks.watch_sealing, tasks.reconcile_seals, tasks.publish_checkpoints):
        task()
    assert len(told(listening)) == 1
