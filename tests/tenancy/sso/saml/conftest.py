"""Fixtures of the SAML tests: an identity provider, its row with us, and a verified domain."""

import uuid
from typing import Any

from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, VerifiedDomain
from tenancy.sso.providers import services
from tests.factories import Tenant
from tests.identity_provider import SamlProvider


def connect(tenant: Tenant, idp: SamlProvider, **more: Any) -> IdentityProvider:
    """The identity provider's row, in use."""
    with scope(tenant.organization):
        row = services.add(actor=tenant.actor, name="Okta", metadata_xml=idp.metadata())
        IdentityProvider.objects.filter(pk=row.pk).update(state="active", **more)
        return IdentityProvider.objects.get(pk=row.pk)


def own(tenant: Tenant) -> str:
    """A domain that the tenant has verified."""
    name = f"acme-{uuid.uuid4().hex[:12]}.com"
    with scope(tenant.organization):
        VerifiedDomain.objects.create(domain=name, token=uuid.uuid4().hex, state="verified")
    return name
