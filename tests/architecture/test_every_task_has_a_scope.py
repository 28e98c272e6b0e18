"""A task carries its organization or is global for a reason, and is known by the name that it is enqueued by."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from celery import current_app
from django.conf import settings

from capsule_cloud import celery
from capsule_cloud.lib.jobs import Task
from tests.architecture.sources import ROOT, python_files, tree
from tests.live import environment

# Tasks that look across organizations, and why
GLOBAL = {
    "api.purge_idempotency_keys": "one statement ends the stored answers of everybody's yesterday",
    "audit.expire": "asks whose events are past their retention, then opens each one's scope",
    "audit.make_partitions": "one table holds the events of every organization",
    "audit.seal": "the trail of every organization is sealed in one stream",
    "audit.watch_sealing": "likewise: how far that stream is behind",
    "audit.reconcile_seals": "likewise: whether everything in it is sealed",
    "audit.sum_up_attempts": "asks whose hours are over, then opens each one's scope",
    "audit_exports.write": "takes everybody's due exports in turns, each in its own scope",
    "audit_exports.make_scheduled": "asks whose schedule is due, then opens each one's scope",
    "audit_exports.tidy": "asks whose files have expired, then opens each one's scope",
    "audit.publish_checkpoints": "asks whose checkpoint is due, then opens each one's scope",
    "billing.reconcile_usage": "compares everybody's sums in one statement, then asks Stripe in each one's scope",
    "billing.find_missed_events": "Stripe's events are one stream",
    "billing.process_stripe_events": "an event names a customer; its account says whose scope is opened",
    "billing.push_usage": "asks whose usage Stripe bills, then opens each one's scope",
    "billing.remind_of_trials": "asks whose trial ends soon, then opens each one's scope",
    "billing.sync_seats": "asks whose seats Stripe bills, then opens each one's scope",
    "billing.advance_dunning": "asks whose unpaid invoices reach a step, then opens each one's scope",
    "credits.deduct_due": "asks whose credits pay an invoice, then opens each one's scope",
    "credits.pay_due_top_ups": "asks who has bought credits, then opens each one's scope",
    "credits.expire_credits": "asks who has credits to expire, then opens each one's scope",
    "billing.sell_plans": "the catalogue is one for everybody",
    "billing.recompute_due": "asks who has something due, then opens each one's scope",
    "invoicing.begin_contracts": "asks whose contract begins, then opens each one's scope",
    "invoicing.close_due": "asks whose period is over, then opens each one's scope",
    "invoicing.compare_with_stripe": "asks whose invoices Stripe collects, then opens each one's scope",
    "memory.purge_expired": "asks who has something due, then opens each one's scope",
    "memory.renew_search_entries": "asks who has something due, then opens each one's scope",
    "metering.forget_reported_events": "one statement forgets what everybody reported 90 days ago",
    "metering.make_usage_partitions": "one table holds the events of every organization",
    "metering.sample_gauges": "one statement samples every organization",
    "quotas.seal_idle_sessions": "asks who has something due, then opens each one's scope",
    "metering.ship_usage": "usage of every organization is one stream",
    "audit_streams.deliver": "takes everybody's due streams in turns; each says whose it is",
    "audit_streams.tidy": "one statement ends everybody's logs of last month",
    "scim.forget_exchanges": "asks whose exchanges are old, then opens each one's scope",
    "sso.check_domains": "takes everybody's due domains in turns, each in its own scope",
    "sso.forget_sign_ins": "asks whose traces are old, then opens each one's scope",
    "sso.fetch_metadata": "claims whose metadata is due, then opens each one's scope",
    "sso.tell_endings": "asks whose certificates end, then opens each one's scope",
    "webhooks.deliver": "takes everybody's due deliveries in turns; each says whose it is",
    "webhooks.tidy": "one statement ends everybody's logs of last month",
    "sandbox.deliver_webhooks": "a twin of Stripe knows no organizations",
    "sandbox.pass_time": "a twin of Stripe knows no organizations",
    "quotas.apply_parked_writes": "asks whose writes wait, then opens each one's scope",
    "quotas.sample": "asks which organizations are in use, then opens each one's scope",
    "quotas.say_crossed": "asks who has crossed a threshold, then opens each one's scope",
    "quotas.say_unusual": "asks whose use stands out, then opens each one's scope",
    "quotas.settle_counters": "asks which counters are due, then opens each one's scope",
    "tenancy.purge_closed_organizations": "asks who is due, then opens each one's scope",
}
for path in python_files(with_tests=False):
    if path.endswith("/tasks.py"):
        import_module(path.removesuffix(".py").replace("/", "."))
OURS: dict[str, Any] = {name: task for name, task in celery.app.tasks.items() if not name.startswith("celery.")}


def enqueued() -> Iterator[tuple[str, str]]:
    """Every `enqueue("name", …)`, with the place where it stands."""
    for name in python_files(with_tests=False):
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Call) and (
                (isinstance(node.func, ast.Name) and node.func.id == "enqueue")
                or (isinstance(node.func, ast.Attribute) and node.func.attr in {"enqueue", "send_task"})
            ):
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield str(first.value), f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", OURS)
def test_a_task_carries_its_organization_or_is_global_for_a_reason(name: str) -> None:
    parameters = inspect.signature(OURS[name].run).parameters
    assert ("organization_id" in parameters) != (name in GLOBAL), (
        "Take organization_id, or stand in GLOBAL with a reason."
    )


@pytest.mark.parametrize("name", OURS)
def test_a_task_bears_arguments_that_a_later_version_sends(name: str) -> None:
    kinds = {parameter.kind for parameter in inspect.signature(OURS[name].run).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD in kinds, "Add **kwargs: during a deploy both versions run."
    assert isinstance(OURS[name], Task), "A killed worker's task must run again."


def test_every_enqueued_name_is_a_registered_task() -> None:
    unknown = [(task, place) for task, place in enqueued() if task not in OURS]
    assert not unknown


def test_every_scheduled_name_is_a_registered_task_and_every_global_one_is_scheduled() -> None:
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert scheduled <= set(OURS)
    assert scheduled == set(GLOBAL)


def test_jobs_are_sent_with_our_application() -> None:
    assert current_app.main == "capsule_cloud"
    assert current_app.conf.broker_url == settings.CELERY_BROKER_URL


def test_a_worker_finds_every_task(django_db_setup: None) -> None:
    script = (
        "from capsule_cloud.celery import app; app.loader.import_default_modules(); "
        "print(*sorted(name for name in app.tasks if not name.startswith('celery.')))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split() == sorted(OURS), "Name the room in capsule_cloud/celery.py."
