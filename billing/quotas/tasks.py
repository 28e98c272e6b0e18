"""Wakes the quotas' sweeps on a schedule."""

from typing import Any

from celery import shared_task

from billing.quotas import applying, counters, idle, notices


@shared_task(name="quotas.apply_parked_writes")
def apply_parked_writes(**kwargs: Any) -> None:
    """Apply writes that wait, where the cap has lifted."""
    applying.apply_due()


@shared_task(name="quotas.seal_idle_sessions")
def seal_idle_sessions(**kwargs: Any) -> None:
    """Seal the sessions of every organization that have been idle for their project's time, where the caps let it."""
    while idle.seal_idle_sessions():
        pass


@shared_task(name="quotas.settle_counters")
def settle_counters(**kwargs: Any) -> None:
    """Make counters true to the usage events, and delete old ones."""
    counters.settle()
    counters.tidy()


@shared_task(name="quotas.say_crossed")
def say_crossed(**kwargs: Any) -> None:
    """Tell customers which of their caps have lifted, and then which parts of them are used."""
    notices.say_lifted()
    notices.say_crossed()


@shared_task(name="quotas.sample")
def sample(**kwargs: Any) -> None:
    """See what organizations have of what no lease counts."""
    counters.sample()


@shared_task(name="quotas.say_unusual")
def say_unusual(**kwargs: Any) -> None:
    """Tell customers whose use stands out."""
    notices.say_unusual()
