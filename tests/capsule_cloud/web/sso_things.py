"""Makes domains and identity providers in every state, for tests of what looks at them."""

import functools
import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from tenancy.scope import scope
from tenancy.sso.domains import services
from tenancy.sso.models import IdentityProvider, SignIn, VerifiedDomain
from tenancy.sso.providers import services as providers
from tenancy.sso.setup import services as setup
from tests.factories import Tenant
from tests.identity_provider import SamlProvider


def put(tenant: Tenant, name: str, **columns: Any) -> VerifiedDomain:
    """The domain, added by the owner, with these columns."""
    with scope(tenant.organization):
        domain = services.add(actor=tenant.actor, domain=name)
        VerifiedDomain.objects.filter(pk=domain.pk).update(**columns)
        return VerifiedDomain.objects.get(pk=domain.pk)


@functools.cache
def identity_provider() -> SamlProvider:
    """One for every test of this process: a key takes its time."""
    return SamlProvider()


def put_provider(tenant: Tenant, **columns: Any) -> IdentityProvider:
    """An identity provider, added by the owner, with these columns."""
    with scope(tenant.organization):
        added = providers.add(actor=tenant.actor, name="Okta", metadata_xml=identity_provider().metadata())
        IdentityProvider.objects.filter(pk=added.pk).update(**columns)
        return IdentityProvider.objects.get(pk=added.pk)


def make_sso_things(tenant: Tenant) -> dict[str, str]:
    """Path parameters. The domain was looked up just now, so that nobody looks again while a test runs."""
    just_now = timezone.now() + timedelta(hours=1)
    domain = put(tenant, f"acme-{uuid.uuid4().hex[:12]}.com", turn_at=just_now, due_at=None)
    with scope(tenant.organization):
        begun = setup.begin(vendor="okta", protocol="saml")
        metadata = identity_provider().metadata()
        added = providers.add(actor=tenant.actor, name="Okta", metadata_xml=metadata, provider_id=begun.pk)
        link = setup.make(actor=tenant.actor, user=tenant.owner, name="IT").link
        sign_in = SignIn.objects.create(provider=added, provider_version=1, state="refused", expires_at=just_now)
    ids = {"domain_id": domain, "provider_id": added, "link_id": link, "sign_in_id": sign_in}
    return {name: str(thing.pk) for name, thing in ids.items()}
