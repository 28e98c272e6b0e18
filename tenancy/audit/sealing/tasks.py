"""Wakes the sealer on a schedule."""

from typing import Any

from celery import shared_task

from tenancy.audit.sealing import keys, publishing, sealer


@shared_task(name="audit.seal")
def seal(**kwargs: Any) -> None:
    """Seal what is settled."""
    sealer.seal()


@shared_task(name="audit.watch_sealing")
def watch_sealing(**kwargs: Any) -> None:
    """Say when the sealer is late."""
    sealer.watch()


@shared_task(name="audit.reconcile_seals")
def reconcile_seals(**kwargs: Any) -> None:
    """Compare the trail with its seals, and destroy keys that have ended."""
    sealer.reconcile()
    keys.destroy_ended()


@shared_task(name="audit.publish_checkpoints")
def publish_checkpoints(**kwargs: Any) -> None:
    """Give checkpoints out of our hands."""
    publishing.publish()
