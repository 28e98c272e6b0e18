"""OpenID Connect as people meet it: Chromium between the running service and a certified provider."""

import re
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tenancy.audit import actions
from tenancy.models import Membership, User
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, VerifiedDomain
from tenancy.sso.oidc import services
from tests.capsule_cloud.web.browser import visit
from tests.capsule_cloud.web.conftest import chromium, may_wait
from tests.factories import Tenant
from tests.live import LiveServer
from tests.openid_provider import OpenIdPeer, PeerClient
from tests.trail import audited

__all__ = ["chromium", "may_wait"]  # fixtures, from the console's tests
pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]
DOMAIN = f"acme-{uuid.uuid4().hex[:12]}.com"
ADA = f"ada@{DOMAIN}"


@pytest.fixture
def client(live: LiveServer) -> PeerClient:
    """Our application at the provider."""
    return PeerClient(live.url)


@pytest.fixture
def peer(client: PeerClient) -> Iterator[OpenIdPeer]:
    """The provider, with Ada."""
    with OpenIdPeer([client], {ADA: {"name": "Ada", "email_verified": True}}) as peer:
        yield peer


@pytest.fixture
def row(live_tenant: Tenant, peer: OpenIdPeer, client: PeerClient) -> IdentityProvider:
    """Its row, in use."""
    with scope(live_tenant.organization):
        VerifiedDomain.objects.create(domain=DOMAIN, token=uuid.uuid4().hex, state="verified")
        row = services.add(
            actor=live_tenant.actor,
            name="Keycloak",
            issuer=peer.issuer,
            client_id=f"client:{client.provider_id}",
            client_secret=client.secret,
            provider_id=client.provider_id,
        )
        IdentityProvider.objects.update(state="active")
    return row


def test_somebody_signs_in_by_their_address_and_is_signed_out_when_the_provider_says_so(
    live: LiveServer, live_tenant: Tenant, chromium: Browser, peer: OpenIdPeer, row: IdentityProvider
) -> None:
    home = re.compile(f"/o/{live_tenant.organization.slug}/$")
    with visit(chromium, live.url) as visitor:
        page = visitor.go("/account/login/")
        page.get_by_role("link", name="Sign in with single sign-on").click()
        page.get_by_label("Work e-mail").fill(ADA)
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url(f"{peer.issuer}/interaction/**")
        page.get_by_placeholder("Enter any login").fill(ADA)
        page.get_by_placeholder("and password").fill("any")
        page.get_by_role("button", name="Sign-in").click()
        expect(page).to_have_url(home)
        expect(page.locator("summary", has_text=ADA)).to_be_visible()
        person = User.objects.get(email=ADA)
        with scope(live_tenant.organization):
            assert Membership.objects.filter(user=person).exists()

        page.goto(f"{peer.issuer}/session/end")
        page.get_by_role("button", name="Yes, sign me out").click()
        page.wait_for_url(f"{peer.issuer}/session/end/success**")
        visitor.go(f"/o/{live_tenant.organization.slug}/")
        expect(page).to_have_url(re.compile("/account/login/"))
        with scope(live_tenant.organization):
            [told] = audited(actions.SESSIONS_ENDED.name)
        assert (told.metadata, told.actor["id"]) == ({"sessions": 1}, str(person.pk))
