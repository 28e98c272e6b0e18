"""OpenID Connect as people meet it: Chromium between the running service and a certified provider."""

import re
import uuid
from collections.abc import Iterator
from uuid import UUID

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


def test_an_owner_connects_it_by_the_guide_tests_it_and_switches_it_on(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    boss = f"boss@acme-{uuid.uuid4().hex[:12]}.com"
    with scope(live_tenant.organization):
        VerifiedDomain.objects.create(domain=boss.partition("@")[2], token=uuid.uuid4().hex, state="verified")
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/sso/providers/new/")
        page.get_by_role("button", name="Another identity provider, OpenID Connect").click()
        found = re.search(f"{live.url}/sso/oidc/([0-9a-f-]{{36}})/callback/", page.content())
        assert found
        client = PeerClient(live.url, provider_id=UUID(found[1]))  # as its admin enters it there
        with OpenIdPeer([client], {boss: {"name": "Bea Boss", "email_verified": True}}) as peer:
            page.get_by_label("Name", exact=True).fill("Keycloak")
            page.get_by_label("Issuer").fill(f"{peer.issuer}/.well-known/openid-configuration")
            page.get_by_label("Client ID").fill(f"client:{client.provider_id}")
            page.get_by_label("Client secret").fill(client.secret)
            page.get_by_role("button", name="Save and go on").click()
            expect(page.get_by_text("Keycloak is here.")).to_be_visible()
            expect(page.get_by_text("Waiting for the first sign-in")).to_be_visible()
            with page.expect_popup() as opened:
                page.get_by_role("link", name="Test connection").click()
            theirs = opened.value
            theirs.get_by_placeholder("Enter any login").fill(boss)
            theirs.get_by_placeholder("and password").fill("any")
            theirs.get_by_role("button", name="Sign-in").click()
            expect(page.locator("#status").get_by_text("The test came through.")).to_be_visible()
            page.get_by_role("button", name="Switch on").click()
            expect(page.get_by_text("in use", exact=True)).to_be_visible()
            assert visitor.complaints == []
    with scope(live_tenant.organization):
        row = IdentityProvider.objects.get()
    assert (row.pk, row.issuer, row.state) == (client.provider_id, peer.issuer, "active")
    assert not User.objects.filter(email=boss).exists()  # a test makes nobody
