"""An identity provider that nobody here wrote signs people in and out, encrypts, and renews its certificate."""

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from django.test import Client

from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.providers import services
from tenancy.sso.saml import fetching, refreshing
from tests.factories import Tenant
from tests.identity_provider import pair
from tests.saml_idp import SamlIdp, form_in, says


@pytest.fixture
def connected(tenant: Tenant) -> Iterator[tuple[SamlIdp, IdentityProvider]]:
    """The peer and its row, in use; its metadata came by its address."""
    provider_id = uuid4()
    with SamlIdp(provider_id, settings.PUBLIC_URL) as peer:
        text = fetching.fetch(peer.metadata_url, "")
        with scope(tenant.organization):
            services.add(
                actor=tenant.actor,
                name="Peer",
                metadata_xml=text,
                provider_id=provider_id,
                metadata_url=peer.metadata_url,
            )
            IdentityProvider.objects.update(state="active", is_unsolicited_allowed=True)
            row = IdentityProvider.objects.get()
        yield peer, row
    fetching.door().close()
    fetching.door.cache_clear()


def come_in(client: Client, browser: httpx.Client, row: IdentityProvider, address: str, url: str = "") -> int:
    """Sign in, from our page unless `url` is the provider's; 302 once somebody is in."""
    url = url or client.get(f"/sso/saml/{row.pk}/login/")["Location"]
    answer = client.post(f"/sso/saml/{row.pk}/acs/", says(browser, url, address))
    return client.get(answer["Location"]).status_code if answer.status_code == 303 else answer.status_code


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_people_sign_in_and_out_with_an_identity_provider_by_others(
    tenant: Tenant, connected: tuple[SamlIdp, IdentityProvider], domain: str
) -> None:
    peer, row = connected
    ada = f"ada@{domain}"
    with httpx.Client() as browser:
        client = Client()
        assert come_in(client, browser, row, ada) == 302
        # we tell it: it answers by a form
        leave = client.post("/account/logout/")["Location"]
        address = client.get(leave).context["address"]
        assert address.startswith(f"{peer.url}/saml/slo?SAMLRequest=")
        assert not is_in(client)
        answer = browser.get(address)
        action, fields = form_in(answer.text)
        assert urlsplit(action).path == f"/sso/saml/{row.pk}/logout/post/"
        said = Client().post(urlsplit(action).path, fields)
        assert b"Here, and at Peer" in said.content

        # its own page begins; a request of its own ends the session
        assert come_in(client, browser, row, ada, f"{peer.url}/saml/sso") == 302
        asked = browser.get(f"{peer.url}/saml/slo")
        action, fields = form_in(asked.text)
        ours = Client().post(urlsplit(action).path, fields)
        assert (ours.status_code, ours["Location"].startswith(f"{peer.url}/saml/slo?SAMLResponse=")) == (302, True)
        assert not is_in(client)

        # encrypted
        peer.choose(
            encryptAssertion="true", encryptionCert=row.certificate, encryptionPublicKey=_public(row.certificate)
        )
        assert come_in(client, browser, row, ada) == 302
        with scope(tenant.organization):
            assert {one.state for one in SignIn.objects.all()} == {"done", "ended"}


def test_its_renewed_certificate_counts_once_it_was_fetched(
    tenant: Tenant, connected: tuple[SamlIdp, IdentityProvider], domain: str
) -> None:
    peer, row = connected
    key, certificate = pair()
    with httpx.Client() as browser:
        peer.choose(key=key, cert=certificate)
        assert come_in(Client(), browser, row, f"ada@{domain}") == 403
        row = refreshing.fetch_now(actor=tenant.actor, organization_id=tenant.organization.pk, provider_id=row.pk)
        assert (row.metadata_failure, row.version) == ("", 2)
        assert come_in(Client(), browser, row, f"ada@{domain}") == 302


def _public(certificate: str) -> str:
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
