"""Writes the identity providers of an organization: added, changed, tested, switched on and off, removed."""

from uuid import UUID

from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound
from tenancy.groups import services as groups
from tenancy.models import Organization
from tenancy.names import clean_name
from tenancy.roles import Role, may_grant
from tenancy.services import organizations
from tenancy.sso.domains.selectors import held
from tenancy.sso.models import IdentityProvider
from tenancy.sso.saml import configuration, metadata, sources

MOST_PROVIDERS = 10
LONGEST_ATTRIBUTE = 255
State = IdentityProvider.State
FIELDS = (
    "name",
    "entity_id",
    "email_attribute",
    "name_attribute",
    "default_role",
    "is_unsolicited_allowed",
)


def target(provider: IdentityProvider) -> Target:
    """An identity provider as an audit target."""
    return Target("identity_provider", str(provider.pk), provider.name)


def with_room(provider_id: UUID | None) -> Organization:
    """The organization, locked, which may have one provider more. Raises LimitReached, or Conflict as `add`."""
    organization = organizations.locked()
    if IdentityProvider.objects.count() >= MOST_PROVIDERS:
        raise LimitReached(f"There are {MOST_PROVIDERS} identity providers: remove one first.")
    if provider_id and IdentityProvider.objects.filter(pk=provider_id).exists():
        raise Conflict("This provider has been added already.")
    return organization


def add(
    *,
    actor: Actor,
    name: str,
    metadata_xml: str,
    provider_id: UUID | None = None,
    metadata_url: str = "",
    metadata_certificate: str = "",
) -> IdentityProvider:
    """A provider that nobody signs in by yet; `provider_id` is one that was reserved.

    With `metadata_url`, `metadata_xml` was fetched there a moment ago (`saml.fetching.fetch`), and will be daily,
    signed by `metadata_certificate` where there is one.
    Raises Invalid, LimitReached, or Conflict where the reserved one is there already.
    """
    name = clean_name(name, "identity provider")
    described = metadata.read(metadata_xml)
    organization = with_room(provider_id)
    key, certificate = configuration.new_key(f"{organization.slug} {name}")
    added = IdentityProvider(
        **({"id": provider_id} if provider_id else {}),
        name=name,
        entity_id=described.entity_id,
        key=key,
        certificate=certificate,
    )
    sources.come_from(added, metadata_url, metadata_certificate)
    sources.take(added, metadata_xml, described)
    added.save(force_insert=True)
    told = {field: getattr(added, field) for field in FIELDS} | sources.told(added)
    changes = actions.PROVIDER_ADDED.changed({}, told)
    record(action=actions.PROVIDER_ADDED, actor=actor, target=target(added), changes=changes)
    return added


def change(
    *,
    actor: Actor,
    actor_role: Role,
    provider_id: UUID,
    name: str,
    metadata_xml: str,
    email_attribute: str,
    name_attribute: str,
    default_role: str,
    is_unsolicited_allowed: bool,
    metadata_url: str = "",
    metadata_certificate: str = "",
) -> IdentityProvider:
    """Change what sign-in depends on; metadata with the same entity ID keeps who is linked. For the rest see `add`.

    Raises NotFound, Invalid, Forbidden, or Conflict where other metadata would make strangers of everybody.
    """
    provider = locked(provider_id, IdentityProvider.Protocol.SAML)
    described = metadata.read(metadata_xml)
    if described.entity_id != provider.entity_id:
        raise Conflict(
            "This is the metadata of another identity provider: its subjects are other people. Add it as a new one."
        )
    check_role(provider, default_role, actor_role)
    wanted = {
        "name": clean_name(name, "identity provider"),
        "email_attribute": attribute("email_attribute", email_attribute),
        "name_attribute": attribute("name_attribute", name_attribute),
        "default_role": default_role,
        "is_unsolicited_allowed": is_unsolicited_allowed,
    }
    before = sources.told(provider)
    sources.come_from(provider, metadata_url, metadata_certificate)
    sources.take(provider, metadata_xml, described)
    changes = actions.PROVIDER_CHANGED.change(provider, wanted)
    changes |= actions.PROVIDER_CHANGED.changed(before, sources.told(provider))
    if changes:
        provider.tested_at = None
        provider.version += 1
        provider.save()
        record(action=actions.PROVIDER_CHANGED, actor=actor, target=target(provider), changes=changes)
    return provider


def switch(*, actor: Actor, provider_id: UUID, is_on: bool) -> IdentityProvider:
    """Let people sign in by it, or no longer. Raises NotFound, or Conflict where it would let nobody in."""
    provider = locked(provider_id)
    state = State.ACTIVE if is_on else State.OFF
    if is_on and provider.tested_at is None:
        raise Conflict("Test it first: switch it on once you have come through yourself.")
    if is_on and not held().exists():
        raise Conflict("Verify a domain first: an identity provider can speak only for addresses in your domains.")
    if not is_on:
        _keep_one(provider)
    changes = actions.PROVIDER_SWITCHED.change(provider, {"state": state})
    if changes:
        provider.save(update_fields=["state"])
        record(action=actions.PROVIDER_SWITCHED, actor=actor, target=target(provider), changes=changes)
    return provider


def tested(*, actor: Actor, provider_id: UUID, version: int) -> None:
    """Remember that somebody came through with this version of it."""
    provider = locked(provider_id)
    if provider.version == version:
        provider.tested_at = timezone.now()
        provider.save(update_fields=["tested_at"])
    record(action=actions.PROVIDER_TESTED, actor=actor, target=target(provider))


def remove(*, actor: Actor, provider_id: UUID) -> None:
    """Forget a provider and who is linked by it; accounts and memberships stay. Raises NotFound or Conflict."""
    provider = locked(provider_id)
    _keep_one(provider)
    gone, changes = target(provider), actions.PROVIDER_REMOVED.changed({"state": provider.state}, {})
    provider.delete()
    groups.forget(source_id=provider_id)
    record(action=actions.PROVIDER_REMOVED, actor=actor, target=gone, changes=changes)


def _keep_one(provider: IdentityProvider) -> None:
    """Where single sign-on is required, people must be able to come in."""
    others = IdentityProvider.objects.filter(state=State.ACTIVE).exclude(pk=provider.pk)
    if provider.state == State.ACTIVE and organizations.locked().is_sso_required and not others.exists():
        raise Conflict("Single sign-on is required, and this is the only provider in use: end the requirement first.")


def check_role(provider: IdentityProvider, default_role: str, actor_role: Role) -> None:
    """Raise Invalid or Forbidden for a role that newcomers cannot have, or that the actor cannot give."""
    if default_role not in Role.values:
        raise Invalid("default_role", f"Choose a role: {', '.join(Role.values)}.")
    if default_role != provider.default_role and not may_grant(actor_role, Role(default_role)):
        raise Forbidden("Only an owner can make newcomers owners.")


def attribute(field: str, text: str) -> str:
    """The name of an attribute or claim. Raises Invalid."""
    text = text.strip()
    if len(text) > LONGEST_ATTRIBUTE or "\x00" in text:
        raise Invalid(field, f"An attribute's name has at most {LONGEST_ATTRIBUTE} characters.")
    return text


def locked(provider_id: UUID, protocol: IdentityProvider.Protocol | None = None) -> IdentityProvider:
    """A provider that nobody else changes meanwhile, of this protocol where it matters. Raises NotFound."""
    rows = IdentityProvider.objects.select_for_update(no_key=True).filter(pk=provider_id)
    provider = rows.filter(**({"protocol": protocol} if protocol else {})).first()
    if provider is None:
        raise NotFound("There is no such identity provider.")
    return provider
