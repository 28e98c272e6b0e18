"""Where single sign-on is required nobody passes it by but an owner with a second factor, and that is told."""

from datetime import timedelta

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Conflict
from tenancy.models import Membership, Organization, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso import enforcement
from tenancy.sso.domains import services as domains
from tenancy.sso.models import IdentityProvider, VerifiedDomain
from tenancy.sso.providers import services
from tests.factories import Tenant, add_member, make_tenant
from tests.identity_provider import SamlProvider
from tests.tenancy.sso.saml.conftest import connect, own


@pytest.fixture
def row(tenant: Tenant) -> IdentityProvider:
    """A provider in use, tested just now."""
    own(tenant)
    return connect(tenant, SamlProvider(), tested_at=timezone.now())


def protect(user: User) -> None:
    """Give somebody a second factor."""
    TOTP.activate(user, generate_totp_secret())


def require(tenant: Tenant, *, is_required: bool = True) -> None:
    """Require single sign-on, or no longer."""
    with scope(tenant.organization):
        enforcement.require(actor=tenant.actor, is_required=is_required)


def pages_of(user: User) -> Client:
    """A browser that came by a password."""
    client = Client()
    client.force_login(user)
    return client


def told(tenant: Tenant, action: actions.Action) -> list[AuditEvent]:
    """What the audit log has of an action."""
    with scope(tenant.organization):
        return list(AuditEvent.objects.filter(action=action.name))


def test_a_member_is_led_to_the_provider_and_back_to_the_page(tenant: Tenant, row: IdentityProvider) -> None:
    protect(tenant.owner)
    require(tenant)
    member = add_member(tenant, Role.ADMIN)
    protect(member)  # of no help: only owners have the other way in
    home = f"/o/{tenant.organization.slug}/"
    answer = pages_of(member).get(home + "keys/")
    assert answer["Location"] == f"/sso/saml/{row.pk}/login/?ask=1&next=%2Fo%2F{tenant.organization.slug}%2Fkeys%2F"
    answer = pages_of(member).post(home + "projects/new/", {"name": "x"})
    assert answer["Location"] == f"/sso/saml/{row.pk}/login/?ask=1&next=%2Fo%2F{tenant.organization.slug}%2F"
    [event] = told(tenant, actions.SSO_REQUIREMENT_CHANGED)
    assert event.changes == {"is_sso_required": [False, True]}


def test_other_organizations_of_the_same_person_are_not_touched(tenant: Tenant, row: IdentityProvider) -> None:
    protect(tenant.owner)
    require(tenant)
    other = make_tenant()
    member = add_member(tenant, Role.ADMIN)
    with scope(other.organization):
        Membership.objects.create(user=member, role=Role.VIEWER)
    client = pages_of(member)
    assert client.get(f"/o/{other.organization.slug}/").status_code == 200
    assert client.get(f"/o/{tenant.organization.slug}/").status_code == 302


def test_an_owner_with_a_second_factor_comes_in_and_it_is_told_once_a_session(
    tenant: Tenant, row: IdentityProvider
) -> None:
    protect(tenant.owner)
    require(tenant)
    client = pages_of(tenant.owner)
    for _ in range(2):
        assert client.get(f"/o/{tenant.organization.slug}/").status_code == 200
    [event] = told(tenant, actions.SSO_PASSED_BY)
    assert event.actor["id"] == str(tenant.owner.pk)
    pages_of(tenant.owner).get(f"/o/{tenant.organization.slug}/")
    assert len(told(tenant, actions.SSO_PASSED_BY)) == 2


def test_an_owner_without_a_second_factor_does_not(tenant: Tenant, row: IdentityProvider) -> None:
    protect(add_member(tenant, Role.OWNER))
    require(tenant)
    assert pages_of(tenant.owner).get(f"/o/{tenant.organization.slug}/").status_code == 302


def test_keys_go_on(tenant: Tenant, row: IdentityProvider) -> None:
    protect(tenant.owner)
    require(tenant)
    answer = Client().get("/v1/projects", headers={"Authorization": f"Bearer {tenant.secret}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("why", ["never tested", "tested long ago", "switched off", "no second factor"])
def test_it_is_not_required_where_nobody_could_come_in(tenant: Tenant, row: IdentityProvider, why: str) -> None:
    if why != "no second factor":
        protect(tenant.owner)
    with scope(tenant.organization):
        mine = IdentityProvider.objects.filter(pk=row.pk)
        if why == "never tested":
            mine.update(tested_at=None)
        elif why == "tested long ago":
            mine.update(tested_at=timezone.now() - enforcement.FRESH - timedelta(seconds=1))
        elif why == "switched off":
            mine.update(state="off")
    with pytest.raises(enforcement.NobodyCouldComeIn):
        require(tenant)
    with scope(tenant.organization):
        assert not Organization.objects.get().is_sso_required


def test_the_only_provider_stays_as_long_as_it_is_required(tenant: Tenant, row: IdentityProvider) -> None:
    protect(tenant.owner)
    require(tenant)
    with scope(tenant.organization):
        with pytest.raises(Conflict, match="only provider"):
            services.switch(actor=tenant.actor, provider_id=row.pk, is_on=False)
        with pytest.raises(Conflict, match="only provider"):
            services.remove(actor=tenant.actor, provider_id=row.pk)
    require(tenant, is_required=False)
    with scope(tenant.organization):
        services.remove(actor=tenant.actor, provider_id=row.pk)
    assert pages_of(tenant.owner).get(f"/o/{tenant.organization.slug}/").status_code == 200


def test_the_last_domain_stays_as_long_as_it_is_required(tenant: Tenant, row: IdentityProvider) -> None:
    protect(tenant.owner)
    require(tenant)
    with scope(tenant.organization):
        [domain] = VerifiedDomain.objects.all()
        with pytest.raises(Conflict, match="rests on this domain alone"):
            domains.remove(actor=tenant.actor, domain_id=domain.pk)
    own(tenant)
    with scope(tenant.organization):
        domains.remove(actor=tenant.actor, domain_id=domain.pk)
    require(tenant, is_required=False)
    with scope(tenant.organization):
        domains.remove(actor=tenant.actor, domain_id=VerifiedDomain.objects.get().pk)
    with pytest.raises(enforcement.NobodyCouldComeIn, match="Verify a domain"):
        require(tenant)


def test_without_any_provider_left_people_are_led_out_and_owners_in(tenant: Tenant, row: IdentityProvider) -> None:
    protect(tenant.owner)
    require(tenant)
    member = add_member(tenant, Role.ADMIN)
    with scope(tenant.organization):
        IdentityProvider.objects.update(state="off")
    assert pages_of(member).get(f"/o/{tenant.organization.slug}/")["Location"] == "/account/logout/"
    assert pages_of(tenant.owner).get(f"/o/{tenant.organization.slug}/").status_code == 200
