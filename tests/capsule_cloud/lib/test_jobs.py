"""Jobs are queued by name, once what they are about is stored."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.db import transaction

from capsule_cloud.lib import jobs


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The queue of a broker in this process's memory."""
    app = Celery("in_memory", broker="memory://", set_as_current=False)
    monkeypatch.setattr(jobs, "current_app", app)
    with app.connection_for_write() as connection:
        queue = connection.SimpleQueue("celery")
        queue.clear()
        yield queue
        queue.clear()
        queue.close()


def waiting(queue: Any) -> list[tuple[str, dict[str, Any]]]:
    """The queued tasks' names and arguments."""
    found = []
    while len(queue):
        message = queue.get(timeout=5)
        found.append((message.headers["task"], message.payload[1]))
        message.ack()
    return found


def test_a_job_is_queued_after_the_commit(transactional_db: None, queue: Any) -> None:
    organization_id = uuid.uuid4()
    with transaction.atomic():
        jobs.enqueue("quotas.seal_idle_sessions", organization_id=organization_id, number=7)
        assert len(queue) == 0
    assert waiting(queue) == [("quotas.seal_idle_sessions", {"organization_id": str(organization_id), "number": 7})]


def test_outside_a_transaction_a_job_is_queued_at_once(transactional_db: None, queue: Any) -> None:
    jobs.enqueue("quotas.seal_idle_sessions")
    assert waiting(queue) == [("quotas.seal_idle_sessions", {})]


def test_what_is_rolled_back_queues_nothing(transactional_db: None, queue: Any) -> None:
    def work() -> None:
        jobs.enqueue("quotas.seal_idle_sessions")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        work()
    assert waiting(queue) == []


def test_a_broker_that_is_away_is_logged_and_not_raised(
    transactional_db: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "current_app", Celery("away", broker="redis://127.0.0.1:1/0", set_as_current=False))
    jobs.enqueue("quotas.seal_idle_sessions")
    assert "jobs.enqueue_failed task=quotas.seal_idle_sessions" in caplog.text
