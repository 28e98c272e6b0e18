"""Fetches metadata again from where it came, of all organizations, and keeps what was fetched before where that fails.

A provider is put off when it is taken, before it is asked: what kills a worker is not taken at once again. Threads
only fetch; the database is asked by the loop alone.
"""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, record
from tenancy.errors import Conflict, Invalid
from tenancy.scope import scope, unscoped
from tenancy.sso import admins
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers import selectors, services
from tenancy.sso.saml import fetching, metadata, sources
from tenancy.sso.saml.fetching import Unfetched

AT_ONCE, SLOTS = 32, 8
BUDGET = 40.0  # seconds in which rounds are begun
AGAIN = timedelta(hours=1)  # after a failure, doubled with each, up to a day
TOLD_AFTER = 3  # failures in a row
log = logging.getLogger("sso.metadata")


def fetch_due(*, budget: float = BUDGET) -> int:
    """Fetch what is due until nothing is, or for `budget` seconds; how many that were."""
    made, ends_at = 0, time.monotonic() + budget
    with ThreadPoolExecutor(SLOTS, "metadata") as threads:
        while time.monotonic() < ends_at and (due := _claim()):
            begun = {threads.submit(fetching.fetch, one.metadata_url, one.metadata_certificate): one for one in due}
            for ended in as_completed(begun):
                _settle_one(begun[ended], ended)
            made += len(due)
    return made


def fetch_now(*, actor: Actor, organization_id: UUID, provider_id: UUID) -> IdentityProvider:
    """Fetch it because somebody asks, and return the provider with what came of it; no transaction may be open.

    Raises NotFound, or Conflict where it was pasted.
    """
    with scope(organization_id):
        asked = selectors.provider(provider_id)
    if not asked.metadata_url:
        raise Conflict("The metadata was pasted: give its address under Change, and it is fetched from there.")
    try:
        found: str | Unfetched = fetching.fetch(asked.metadata_url, asked.metadata_certificate)
    except Unfetched as failure:
        found = failure
    settle(asked, found, actor=actor)
    with scope(organization_id):
        return selectors.provider(provider_id)


def settle(asked: IdentityProvider, found: str | Unfetched, *, actor: Actor = SYSTEM) -> None:
    """Write down what a fetch brought, unless the address was changed meanwhile; opens its own scope."""
    with scope(asked.organization_id):
        provider = IdentityProvider.objects.select_for_update(no_key=True).filter(pk=asked.pk).first()
        if provider is None or provider.metadata_url != asked.metadata_url:
            return
        try:
            if isinstance(found, Unfetched):
                raise found
            _take(provider, found, actor)
        except (Unfetched, Invalid) as failure:
            _fail(provider, str(failure))


def _take(provider: IdentityProvider, text: str, actor: Actor) -> None:
    """Believe what was fetched. Raises Invalid, or Unfetched where it is somebody else's."""
    described = metadata.read(text)
    if described.entity_id != provider.entity_id:
        raise Unfetched(f"The address has the metadata of another identity provider now: {described.entity_id[:200]}")
    before = sources.told(provider)
    is_new = text != provider.metadata
    has_changed = is_new and described.substance != _substance(provider)
    sources.take(provider, text, described)
    provider.version += is_new
    provider.save()
    if has_changed:
        changes = actions.PROVIDER_CHANGED.changed(before, sources.told(provider))
        record(action=actions.PROVIDER_CHANGED, actor=actor, target=services.target(provider), changes=changes)


def _substance(provider: IdentityProvider) -> object:
    """What sign-in depended on before; nothing where the old metadata has ended."""
    try:
        return metadata.read(provider.metadata).substance
    except Invalid:
        return None


def _fail(provider: IdentityProvider, reason: str) -> None:
    provider.metadata_failures = min(provider.metadata_failures + 1, 1_000)
    provider.metadata_failure = reason[:500]
    wait = AGAIN * 2 ** min(provider.metadata_failures - 1, 5)
    provider.metadata_due_at = sources.soon(timezone.now(), min(wait, sources.DAILY))
    provider.save()
    if provider.metadata_failures == TOLD_AFTER:
        target = services.target(provider)
        record(action=actions.PROVIDER_METADATA_FAILED, actor=SYSTEM, target=target, reason=provider.metadata_failure)
        subject = "The metadata of your identity provider cannot be fetched"
        admins.tell(subject, "metadata_failed", f"providers/{provider.pk}", provider=provider)


def _claim() -> list[IdentityProvider]:
    with unscoped(reason="metadata of every organization is fetched by one loop") as wide:
        rows = wide.rows("sso_metadata_claim", AT_ONCE, AGAIN)
    due: list[IdentityProvider] = []
    for row in rows:
        with scope(row["organization_id"]):
            due += IdentityProvider.objects.filter(pk=row["provider_id"])
    return due


def _settle_one(asked: IdentityProvider, ended: "Future[str]") -> None:
    """One that cannot be settled does not keep the others."""
    try:
        try:
            found: str | Unfetched = ended.result()
        except Unfetched as failure:
            found = failure
        settle(asked, found)
    except Exception:
        log.exception("sso.metadata_failed provider=%s organization=%s", asked.pk, asked.organization_id)
