"""Identity providers: added, changed, tested, switched, removed; by whom, in which limits, and what is told of it."""

from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from capsule_cloud.lib import crypto
from tenancy.audit import actions
from tenancy.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound
from tenancy.models import Membership, Organization
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import ExternalIdentity, IdentityProvider, SignIn, VerifiedDomain
from tenancy.sso.providers import selectors, services, sign_in
from tenancy.sso.providers.reasons import Refused
from tests.factories import Tenant, add_member
from tests.identity_provider import SamlProvider, pair
from tests.tenancy.sso.saml.conftest import own
from tests.trail import audited

IDP = SamlProvider()
KEPT = ("name", "email_attribute", "name_attribute", "default_role", "is_unsolicited_allowed")


def add(tenant: Tenant, name: str = "Okta", text: str = "") -> IdentityProvider:
    """The provider, added by the owner."""
    with scope(tenant.organization):
        return services.add(actor=tenant.actor, name=name, metadata_xml=text or IDP.metadata())


def now_of(tenant: Tenant, provider: IdentityProvider) -> IdentityProvider:
    """The provider as it is now."""
    with scope(tenant.organization):
        return IdentityProvider.objects.get(pk=provider.pk)


def change(tenant: Tenant, provider: IdentityProvider, *, by: Role = Role.OWNER, **other: Any) -> IdentityProvider:
    """The provider, changed in these fields alone."""
    now = now_of(tenant, provider)
    wanted = {field: getattr(now, field) for field in KEPT} | {"metadata_xml": now.metadata} | other
    with scope(tenant.organization):
        return services.change(actor=tenant.actor, actor_role=by, provider_id=provider.pk, **wanted)


def switch(tenant: Tenant, provider: IdentityProvider, *, is_on: bool) -> str:
    """Its state after it was switched."""
    with scope(tenant.organization):
        return services.switch(actor=tenant.actor, provider_id=provider.pk, is_on=is_on).state


def let_through(tenant: Tenant, provider: IdentityProvider, version: int = 1) -> None:
    """Remember a test that came through."""
    with scope(tenant.organization):
        services.tested(actor=tenant.actor, provider_id=provider.pk, version=version)


def told(tenant: Tenant) -> list[tuple[str, Any]]:
    """What the trail says of providers: each action and its changes."""
    with scope(tenant.organization):
        return [(one.action, one.changes) for one in audited("sso.provider.")]


def test_an_added_provider_signs_nobody_in_yet(tenant: Tenant) -> None:
    provider = add(tenant, "  Okta ", f"\n{IDP.metadata()}\n")
    assert (provider.name, provider.state, provider.version, provider.tested_at) == ("Okta", "draft", 1, None)
    assert (provider.entity_id, provider.metadata) == (IDP.entity_id, IDP.metadata())
    assert (provider.default_role, provider.is_unsolicited_allowed) == (Role.VIEWER, False)
    with pytest.raises(Refused, match="not in use"):
        come_by(tenant, provider)


def come_by(tenant: Tenant, provider: IdentityProvider) -> None:
    """Bring an answer that was believed."""
    with scope(tenant.organization):
        kept = SignIn.objects.create(
            provider=provider, provider_version=1, state="answered", assertion_id="_a", expires_at=timezone.now()
        )
    sign_in.complete(sign_in.find(provider=provider, sign_in_id=kept.pk))


def test_an_added_provider_is_told_with_all_that_was_chosen(tenant: Tenant) -> None:
    provider = add(tenant)
    [(action, changes)] = told(tenant)
    assert action == actions.PROVIDER_ADDED.name
    assert changes["name"] == [None, "Okta"]
    assert changes["entity_id"] == [None, IDP.entity_id]
    assert changes["metadata_sha256"] == [None, sha256(IDP.metadata().encode()).hexdigest()]
    assert changes["default_role"] == [None, "viewer"]
    ends_at = provider.certificate_expires_at
    assert ends_at is not None
    assert changes["certificate_expires_at"] == [None, ends_at.isoformat()]
    with scope(tenant.organization):
        [event] = audited("sso.provider.")
    assert (event.target["id"], event.target["label"]) == (str(provider.pk), "Okta")
    assert event.actor["id"] == str(tenant.owner.pk)


def test_each_provider_has_a_key_of_its_own_that_is_sealed_and_told_to_nobody(tenant: Tenant) -> None:
    first, second = add(tenant), add(tenant, "Entra ID")
    secret = crypto.unseal(first.key)
    assert secret.startswith(b"-----BEGIN RSA ")
    assert secret != crypto.unseal(second.key)
    assert b"PRIVATE" not in bytes(first.key)
    change(tenant, first, name="Other", metadata_xml=IDP.metadata(pair()[1]))
    with scope(tenant.organization):
        services.remove(actor=tenant.actor, provider_id=first.pk)
        trail = str([(one.changes, one.metadata, one.target, one.context) for one in audited("sso.")])
    body = secret.decode().splitlines()[1]
    for hidden in (body, bytes(first.key).hex(), "PRIVATE", "X509Certificate", first.certificate.splitlines()[1]):
        assert hidden not in trail


@pytest.mark.parametrize("name", ["", "  ", "x" * 121, "a\nb", "a\x00b"])
def test_a_provider_needs_a_name_for_people(tenant: Tenant, name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        add(tenant, name)
    assert refusal.value.field == "name"
    assert told(tenant) == []


def test_what_is_no_metadata_is_refused_at_its_field_and_leaves_nothing(tenant: Tenant) -> None:
    with pytest.raises(Invalid) as refusal:
        add(tenant, text="<a/>")
    assert refusal.value.field == "metadata"
    with scope(tenant.organization):
        assert selectors.providers() == []
    assert told(tenant) == []


def test_there_is_an_end_to_providers(tenant: Tenant, stranger: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_PROVIDERS", 1)
    provider = add(tenant)
    with pytest.raises(LimitReached, match="remove one first"):
        add(tenant)
    add(stranger)
    with scope(tenant.organization):
        services.remove(actor=tenant.actor, provider_id=provider.pk)
    add(tenant)


def test_a_change_is_told_with_what_was_and_what_is(tenant: Tenant) -> None:
    provider = add(tenant)
    changed = change(
        tenant,
        provider,
        name="Okta EU",
        email_attribute=" mail ",
        name_attribute="cn",
        default_role="member",
        is_unsolicited_allowed=True,
    )
    assert (changed.name, changed.email_attribute, changed.default_role) == ("Okta EU", "mail", "member")
    assert told(tenant)[1:] == [
        (
            actions.PROVIDER_CHANGED.name,
            {
                "name": ["Okta", "Okta EU"],
                "email_attribute": ["", "mail"],
                "name_attribute": ["", "cn"],
                "default_role": ["viewer", "member"],
                "is_unsolicited_allowed": [False, True],
            },
        )
    ]


def test_a_change_begins_a_version_that_nobody_has_tested(tenant: Tenant) -> None:
    provider = add(tenant)
    let_through(tenant, provider)
    assert now_of(tenant, provider).tested_at is not None
    change(tenant, provider, is_unsolicited_allowed=True)
    now = now_of(tenant, provider)
    assert (now.version, now.tested_at, now.is_unsolicited_allowed) == (2, None, True)


def test_saving_what_is_there_changes_and_tells_nothing(tenant: Tenant) -> None:
    provider = add(tenant)
    let_through(tenant, provider)
    before = now_of(tenant, provider)
    change(tenant, provider, metadata_xml=f"  {before.metadata}\n")
    now = now_of(tenant, provider)
    assert (now.version, now.tested_at) == (1, before.tested_at)
    assert actions.PROVIDER_CHANGED.name not in [action for action, _ in told(tenant)]


def test_new_metadata_of_the_same_provider_is_a_new_version_and_keeps_who_is_linked(tenant: Tenant) -> None:
    provider = add(tenant)
    with scope(tenant.organization):
        ExternalIdentity.objects.create(provider=provider, subject="ada", user=tenant.owner)
    renewed = SamlProvider(IDP.entity_id)
    change(tenant, provider, metadata_xml=renewed.metadata())
    now = now_of(tenant, provider)
    assert (now.version, now.metadata) == (2, renewed.metadata())
    action, changes = told(tenant)[-1]
    assert action == actions.PROVIDER_CHANGED.name
    assert changes["metadata_sha256"] == [
        sha256(one.metadata().encode()).hexdigest() for one in (IDP, renewed)
    ]  # even where both certificates end in the same second
    with scope(tenant.organization):
        assert ExternalIdentity.objects.get().subject == "ada"


def test_metadata_of_another_provider_is_a_conflict(tenant: Tenant) -> None:
    provider = add(tenant)
    with pytest.raises(Conflict, match="another identity provider"):
        change(tenant, provider, metadata_xml=SamlProvider().metadata())
    assert now_of(tenant, provider).metadata == IDP.metadata()


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"name": ""}, "name"),
        ({"metadata_xml": "<a/>"}, "metadata"),
        ({"default_role": "king"}, "default_role"),
        ({"default_role": ""}, "default_role"),
        ({"email_attribute": "x" * 256}, "email_attribute"),
        ({"name_attribute": "a\x00b"}, "name_attribute"),
    ],
)
def test_what_cannot_be_is_refused_at_its_field(tenant: Tenant, other: dict[str, Any], field: str) -> None:
    provider = add(tenant)
    with pytest.raises(Invalid) as refusal:
        change(tenant, provider, **other)
    assert refusal.value.field == field
    assert now_of(tenant, provider).version == 1


def test_only_an_owner_makes_newcomers_owners(tenant: Tenant) -> None:
    provider = add(tenant)
    with pytest.raises(Forbidden):
        change(tenant, provider, by=Role.ADMIN, default_role="owner")
    assert change(tenant, provider, by=Role.ADMIN, default_role="admin").default_role == "admin"
    assert change(tenant, provider, by=Role.OWNER, default_role="owner").default_role == "owner"
    # what an owner chose is no reason to keep an admin from the rest
    assert change(tenant, provider, by=Role.ADMIN, name="Other").default_role == "owner"


def test_it_is_switched_on_once_it_is_tested_and_a_domain_is_verified(tenant: Tenant) -> None:
    provider = add(tenant)
    with pytest.raises(Conflict, match="Test it first"):
        switch(tenant, provider, is_on=True)
    let_through(tenant, provider)
    with pytest.raises(Conflict, match="Verify a domain first"):
        switch(tenant, provider, is_on=True)
    name = own(tenant)
    assert selectors.provider_for(name) is None
    assert switch(tenant, provider, is_on=True) == "active"
    assert selectors.provider_for(name) == provider.pk
    assert switch(tenant, provider, is_on=False) == "off"
    assert selectors.provider_for(name) is None
    assert told(tenant)[-2:] == [
        (actions.PROVIDER_SWITCHED.name, {"state": ["draft", "active"]}),
        (actions.PROVIDER_SWITCHED.name, {"state": ["active", "off"]}),
    ]


def test_another_s_or_an_unproved_domain_switches_nothing_on(tenant: Tenant, stranger: Tenant) -> None:
    provider = add(tenant)
    let_through(tenant, provider)
    own(stranger)
    with scope(tenant.organization):
        VerifiedDomain.objects.create(domain="waiting.example", token="x", state="pending")
    with pytest.raises(Conflict, match="Verify a domain first"):
        switch(tenant, provider, is_on=True)


def test_a_lost_domain_is_good_enough_to_switch_on(tenant: Tenant) -> None:
    provider = add(tenant)
    let_through(tenant, provider)
    own(tenant)
    with scope(tenant.organization):
        VerifiedDomain.objects.update(state="lost")
    assert switch(tenant, provider, is_on=True) == "active"


def test_switching_to_what_it_is_tells_nothing(tenant: Tenant) -> None:
    provider = add(tenant)
    let_through(tenant, provider)
    own(tenant)
    for _ in range(2):
        switch(tenant, provider, is_on=True)
    assert [action for action, _ in told(tenant)].count(actions.PROVIDER_SWITCHED.name) == 1


def test_a_changed_provider_stays_in_use(tenant: Tenant) -> None:
    provider = add(tenant)
    let_through(tenant, provider)
    own(tenant)
    switch(tenant, provider, is_on=True)
    assert change(tenant, provider, name="Other").state == "active"


def test_a_test_is_told_and_counts_for_its_own_version_alone(tenant: Tenant) -> None:
    provider = add(tenant)
    change(tenant, provider, name="Other")
    let_through(tenant, provider, version=1)
    assert now_of(tenant, provider).tested_at is None
    let_through(tenant, provider, version=2)
    assert now_of(tenant, provider).tested_at is not None
    assert [action for action, _ in told(tenant)][-2:] == [actions.PROVIDER_TESTED.name] * 2


def test_a_removed_provider_leaves_accounts_and_memberships(tenant: Tenant) -> None:
    provider = add(tenant)
    bob = add_member(tenant, Role.MEMBER)
    with scope(tenant.organization):
        ExternalIdentity.objects.create(provider=provider, subject="bob", user=bob)
        SignIn.objects.create(provider=provider, provider_version=1, state="refused", expires_at=timezone.now())
        services.remove(actor=tenant.actor, provider_id=provider.pk)
        assert not ExternalIdentity.objects.exists()
        assert not SignIn.objects.exists()
        assert Membership.objects.filter(user=bob).exists()
        with pytest.raises(NotFound):
            selectors.provider(provider.pk)
    with pytest.raises(NotFound):
        selectors.organization_of(provider.pk)
    assert told(tenant)[-1] == (actions.PROVIDER_REMOVED.name, {"state": ["draft", None]})


def attempts(tenant: Tenant, provider_id: UUID) -> list[Any]:
    """Everything that may be done to a provider by its id, within this organization."""
    at: dict[str, Any] = {"actor": tenant.actor, "provider_id": provider_id}
    kept: dict[str, Any] = {"name": "x", "email_attribute": "", "name_attribute": "", "default_role": "viewer"}
    more: dict[str, Any] = {"metadata_xml": IDP.metadata(), "is_unsolicited_allowed": False, "actor_role": Role.OWNER}
    return [
        lambda: selectors.provider(provider_id),
        lambda: services.change(**at, **kept, **more),
        lambda: services.switch(**at, is_on=True),
        lambda: services.tested(**at, version=1),
        lambda: services.remove(**at),
    ]


def test_another_organization_s_provider_is_not_found(tenant: Tenant, stranger: Tenant) -> None:
    theirs = add(stranger)
    for attempt in attempts(tenant, theirs.pk):
        with scope(tenant.organization), pytest.raises(NotFound):
            attempt()
    with scope(tenant.organization):
        assert selectors.providers() == []
        assert selectors.sign_ins(theirs.pk, limit=5) == []
    assert told(tenant) == []
    assert (now_of(stranger, theirs).version, selectors.organization_of(theirs.pk)) == (1, stranger.organization.pk)


def test_nobody_comes_by_the_provider_of_a_closed_organization(tenant: Tenant) -> None:
    provider = add(tenant)
    let_through(tenant, provider)
    name = own(tenant)
    switch(tenant, provider, is_on=True)
    with scope(tenant.organization):
        Organization.objects.update(closed_at=timezone.now())
    assert selectors.provider_for(name) is None
    with pytest.raises(Refused, match="closed"):
        sign_in.receive(provider_id=provider.pk, posted="")


def test_of_several_providers_in_use_the_oldest_is_asked(tenant: Tenant) -> None:
    first, second = add(tenant), add(tenant, "Entra ID")
    name = own(tenant)
    for one in (second, first):
        let_through(tenant, one)
        switch(tenant, one, is_on=True)
    assert selectors.provider_for(name) == first.pk
    switch(tenant, first, is_on=False)
    assert selectors.provider_for(name) == second.pk
    assert selectors.provider_for(f"mail.{name}") is None
