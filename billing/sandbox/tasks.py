"""Wakes the sandbox: webhooks on their way, and what becomes due as time passes."""

from typing import Any

from celery import shared_task

from billing.sandbox import clock, delivery


@shared_task(name="sandbox.deliver_webhooks")
def deliver_webhooks(**kwargs: Any) -> None:
    """Send every event to the endpoints that have not answered yet."""
    delivery.deliver()


@shared_task(name="sandbox.pass_time")
def pass_time(**kwargs: Any) -> None:
    """Do what has become due, and forget what is a day old."""
    clock.tick()
    delivery.forget_old()
