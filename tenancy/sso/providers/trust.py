"""Writes what of a provider's word counts: where it names groups, and whether its second factor is one for us."""

from uuid import UUID

from tenancy.audit import actions
from tenancy.audit.services import Actor, record
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers import services


def choose(*, actor: Actor, provider_id: UUID, groups_attribute: str, is_mfa_trusted: bool) -> IdentityProvider:
    """Choose both. Nobody needs to test the provider again: who comes in does not depend on it.

    Raises NotFound or Invalid.
    """
    provider = services.locked(provider_id)
    wanted = {
        "groups_attribute": services.attribute("groups_attribute", groups_attribute),
        "is_mfa_trusted": is_mfa_trusted,
    }
    if changes := actions.PROVIDER_CHANGED.change(provider, wanted):
        provider.save(update_fields=list(wanted))
        record(action=actions.PROVIDER_CHANGED, actor=actor, target=services.target(provider), changes=changes)
    return provider
