"""What the schedule wakes: webhooks on their way, and time that passes."""

from django.conf import settings

from billing.sandbox import tasks
from billing.sandbox.models import Delivery
from tests.billing.sandbox.conftest import Account


def test_the_delivery_is_woken(account: Account) -> None:
    form = {"url": "http://127.0.0.1:9/nobody", "enabled_events": ["customer.created"]}
    account.client.v1.webhook_endpoints.create(form)  # type: ignore[arg-type]
    account.client.v1.customers.create({})
    tasks.deliver_webhooks(added_by="a later version")
    assert Delivery.objects.get(account=account.name).attempts == 1


def test_time_is_let_pass(account: Account) -> None:
    made = account.subscribe(account.customer().id, account.price().id, trial_period_days=1)
    tasks.pass_time(added_by="a later version")
    assert account.client.v1.subscriptions.retrieve(made.id).status == "trialing"


def test_both_are_scheduled() -> None:
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert {"sandbox.deliver_webhooks", "sandbox.pass_time"} <= scheduled
