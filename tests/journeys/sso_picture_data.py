"""Single sign-on as an organization has it after a morning: a domain, a provider that was tested, and who came."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from tenancy.audit.services import Actor
from tenancy.models import Organization, User
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn, VerifiedDomain
from tenancy.sso.providers import services
from tenancy.sso.setup import services as setup
from tests.identity_provider import SamlProvider


def connect(organization: Organization, actor: Actor, owner: User, domain: str) -> dict[str, str]:
    """Make it; the paths of its pages below the organization's address, by the names of their pictures."""
    now = timezone.now()
    metadata = SamlProvider("http://www.okta.com/exk1fcia6d6EMsf331d8").metadata()
    with scope(organization):
        VerifiedDomain.objects.create(
            domain=domain, token="0" * 40, state="verified", verified_at=now, last_checked_at=now, last_code="found"
        )
        begun = setup.begin(vendor="okta", protocol="saml")
        provider = services.add(actor=actor, name="Okta", metadata_xml=metadata, provider_id=begun.pk)
        IdentityProvider.objects.filter(pk=provider.pk).update(tested_at=now)
        setup.make(actor=actor, user=owner, name="Ann, IT")
        for minutes, columns in (
            (42, {"state": "refused", "code": "audience", "detail": "https://capsule.example/other"}),
            (31, _named(domain, "ann", "Ann Okafor") | {"state": "tested"}),
            (12, _named("contractors.example", "mo", "Mo Ito") | {"state": "refused", "code": "foreign_domain"}),
        ):
            one = SignIn.objects.create(provider=provider, provider_version=1, expires_at=now, **columns)
            SignIn.objects.filter(pk=one.pk).update(created_at=now - timedelta(minutes=minutes))
    return {
        "sso": "sso/",
        "sso-guide": f"sso/providers/{provider.pk}/guide/",
        "sso-provider": f"sso/providers/{provider.pk}/",
        "sso-sign-in": f"sso/sign-ins/{one.pk}/",
    }


def _named(domain: str, who: str, name: str) -> dict[str, Any]:
    address = f"{who}@{domain}"
    asserted = {"email": [address], "displayName": [name], "groups": ["engineering", "everyone"]}
    return {"subject": address, "email": address, "attributes": asserted}
