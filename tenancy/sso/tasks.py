"""Wakes on a schedule what looks domains up, fetches metadata, warns of its end, and forgets old traces."""

from typing import Any

from celery import shared_task

from tenancy.sso.domains import loop
from tenancy.sso.providers import retention
from tenancy.sso.saml import expiry, refreshing


@shared_task(name="sso.check_domains")
def check_domains(**kwargs: Any) -> None:
    """Look up what is due."""
    loop.check_due()


@shared_task(name="sso.forget_sign_ins")
def forget_sign_ins(**kwargs: Any) -> None:
    """Delete traces of sign-ins that are too old."""
    retention.forget_due()


@shared_task(name="sso.fetch_metadata")
def fetch_metadata(**kwargs: Any) -> None:
    """Fetch the metadata that is due."""
    refreshing.fetch_due()


@shared_task(name="sso.tell_endings")
def tell_endings(**kwargs: Any) -> None:
    """Warn of certificates and metadata that end."""
    expiry.tell_due()
