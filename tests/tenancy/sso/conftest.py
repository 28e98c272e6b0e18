"""Fixtures of single sign-on's tests: a name server, and domains of names that no other test has."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tenancy.scope import scope
from tenancy.sso.domains import services
from tenancy.sso.domains.names import VALUE, record_of
from tenancy.sso.models import IdentityProvider, VerifiedDomain
from tests import raw
from tests.factories import Tenant
from tests.identity_provider import SamlProvider
from tests.tenancy.sso.saml.conftest import connect, own
from tests.zones import Zone, asks


@pytest.fixture(autouse=True)
def _nothing_is_left_to_look_up(django_db_setup: None) -> None:
    """Leave alone what other tests have committed."""
    with raw.connect("superuser") as server:
        server.execute("UPDATE sso_verifieddomain SET due_at = NULL")


@pytest.fixture
def zone(settings: Any) -> Iterator[Zone]:
    """The name server that is asked."""
    with Zone() as server:
        asks(settings, server)
        yield server


@pytest.fixture
def name() -> str:
    """A domain that is in no other test."""
    return f"acme-{uuid.uuid4().hex[:12]}.com"


def added(tenant: Tenant, name: str) -> VerifiedDomain:
    """The domain, added by the owner."""
    with scope(tenant.organization):
        return services.add(actor=tenant.actor, domain=name)


def now_of(tenant: Tenant, domain: VerifiedDomain) -> VerifiedDomain:
    """The domain as it is now."""
    with scope(tenant.organization):
        return VerifiedDomain.objects.get(pk=domain.pk)


def write_record(zone: Zone, domain: VerifiedDomain) -> None:
    """Put the record into DNS, beside what is there."""
    zone.texts.setdefault(record_of(domain.domain), []).append(VALUE + domain.token)


def check(tenant: Tenant, domain: VerifiedDomain) -> VerifiedDomain:
    """Look now, however long ago the last look was."""
    with scope(tenant.organization):
        VerifiedDomain.objects.filter(pk=domain.pk).update(turn_at=None)
    return services.check(actor=tenant.actor, organization_id=tenant.organization.pk, domain_id=domain.pk)


def verified(tenant: Tenant, zone: Zone, name: str) -> VerifiedDomain:
    """The domain, added and proved."""
    domain = added(tenant, name)
    write_record(zone, domain)
    return check(tenant, domain)


def let_pass(tenant: Tenant, domain: VerifiedDomain, time: timedelta) -> None:
    """Have happened, and be due, that much earlier."""
    with scope(tenant.organization):
        row = VerifiedDomain.objects.get(pk=domain.pk)
        for column in ("created_at", "verified_at", "missing_since", "lost_at", "turn_at", "due_at"):
            if (moment := getattr(row, column)) is not None:
                setattr(row, column, moment - time)
        row.save()


def lost(tenant: Tenant, zone: Zone, name: str) -> VerifiedDomain:
    """The domain, proved and then without its record for two days."""
    domain = verified(tenant, zone, name)
    zone.texts.clear()
    check(tenant, domain)
    let_pass(tenant, domain, services.LOST_AFTER)
    return check(tenant, domain)


def is_due(domain: VerifiedDomain) -> timedelta | None:
    """In how much time it is looked up again, to the minute."""
    if domain.due_at is None:
        return None
    return timedelta(minutes=round((domain.due_at - timezone.now()).total_seconds() / 60))


@pytest.fixture(scope="session")
def idp() -> SamlProvider:
    """An identity provider that nobody here configured."""
    return SamlProvider()


@pytest.fixture
def row(tenant: Tenant, idp: SamlProvider) -> IdentityProvider:
    """Its row, in use."""
    return connect(tenant, idp)


@pytest.fixture
def domain(tenant: Tenant) -> str:
    """The tenant's domain."""
    return own(tenant)
