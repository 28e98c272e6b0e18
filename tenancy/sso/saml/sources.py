"""Puts metadata into a provider's row, with what follows: when certificates end, and when it is fetched again."""

import random
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.utils import timezone

from tenancy.sso.models import IdentityProvider
from tenancy.sso.saml import fetching, metadata
from tenancy.sso.saml.metadata import Described

DAILY, LEAST = timedelta(days=1), timedelta(hours=1)  # between two fetches
JITTER = 0.1  # of that time, so that what was added together is not fetched together for ever


def come_from(provider: IdentityProvider, url: str, certificate: str) -> None:
    """Remember where the metadata is fetched, and who must have signed it; '' where it was pasted. Raises Invalid."""
    provider.metadata_url = fetching.check_url(url) if url.strip() else ""
    provider.metadata_certificate = metadata.clean_certificate(certificate) if provider.metadata_url else ""


def take(provider: IdentityProvider, text: str, described: Described) -> None:
    """Have the row say what the metadata does; it is not saved."""
    now = timezone.now()
    provider.metadata = text.strip()
    provider.certificate_expires_at = described.expires_at[-1]
    provider.next_certificate_expires_at = described.expires_at[0]
    provider.metadata_valid_until = described.valid_until
    provider.metadata_fetched_at = now if provider.metadata_url else None
    provider.metadata_due_at = next_fetch(described, now) if provider.metadata_url else None
    provider.metadata_failures, provider.metadata_failure = 0, ""


def next_fetch(described: Described, now: datetime) -> datetime:
    """Daily, and sooner where the metadata says that it may not be kept as long, or ends before."""
    wait = min(DAILY, described.cache_duration or DAILY)
    if described.valid_until is not None:
        wait = min(wait, (described.valid_until - now) / 2)
    return soon(now, max(wait, LEAST))


def soon(now: datetime, wait: timedelta) -> datetime:
    """About that much later."""
    return now + wait * random.uniform(1 - JITTER, 1)  # noqa: S311  # spreads work, guards nothing


def told(provider: IdentityProvider) -> dict[str, Any]:
    """The metadata and what comes of it, as the trail names them."""
    return {
        "metadata_sha256": _digest(provider.metadata),
        "metadata_url": provider.metadata_url,
        "metadata_certificate_sha256": _digest(provider.metadata_certificate),
        "certificate_expires_at": provider.certificate_expires_at,
    }


def _digest(text: str) -> str | None:
    return sha256(text.encode()).hexdigest() if text else None
