"""Single sign-on as people meet it: Chromium between the running service and pysaml2's own identity provider."""

import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from allauth.account.models import EmailAddress
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tenancy.models import Membership, Organization, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, VerifiedDomain
from tenancy.sso.providers import services
from tests.capsule_cloud.web.browser import Visitor, visit
from tests.capsule_cloud.web.conftest import chromium, may_wait
from tests.factories import PASSWORD as FACTORY_PASSWORD
from tests.factories import Tenant, add_member, make_tenant
from tests.live import LiveServer
from tests.peer_idp import PASSWORD, TRIPLE, PeerProvider
from tests.saml_idp import SamlIdp

__all__ = ["chromium", "may_wait"]  # fixtures, from the console's tests
pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]
PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1360, "height": 850}


@pytest.fixture
def peer() -> Iterator[PeerProvider]:
    """An identity provider with nobody in it."""
    with PeerProvider() as peer:
        yield peer


@pytest.fixture
def domain(live_tenant: Tenant) -> str:
    """The tenant's verified domain."""
    name = f"acme-{uuid.uuid4().hex[:12]}.com"
    with scope(live_tenant.organization):
        VerifiedDomain.objects.create(domain=name, token=uuid.uuid4().hex, state="verified")
    return name


@pytest.fixture
def row(live: LiveServer, live_tenant: Tenant, peer: PeerProvider) -> IdentityProvider:
    """The peer, in use, and knowing us."""
    with scope(live_tenant.organization):
        row = services.add(actor=live_tenant.actor, name="Okta", metadata_xml=peer.metadata)
        IdentityProvider.objects.filter(pk=row.pk).update(state="active")
    peer.trust(f"{live.url}/sso/saml/{row.pk}/metadata/")
    return row


def log_in(page: Page, address: str) -> None:
    """Say at the identity provider who one is."""
    page.wait_for_url("http://localhost:*/**")
    page.get_by_label("Address").fill(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("http://127.0.0.1:*/**")


def begin(visitor: Visitor, address: str) -> Page:
    """Start at our page with an address."""
    page = visitor.go("/account/login/")
    page.get_by_role("link", name="Sign in with single sign-on").click()
    page.get_by_label("Work e-mail").fill(address)
    page.get_by_role("button", name="Continue").click()
    return page


def home_of(organization: Organization) -> re.Pattern[str]:
    """The address of an organization's first page."""
    return re.compile(f"/o/{organization.slug}/$")


def test_a_new_person_signs_in_sees_that_organization_alone_and_signs_out(
    live: LiveServer,
    live_tenant: Tenant,
    chromium: Browser,
    peer: PeerProvider,
    domain: str,
    row: IdentityProvider,
) -> None:
    ann, elsewhere = f"ann@{domain}", make_tenant()
    peer.people[ann] = "Ann Arrived"
    with visit(chromium, live.url) as visitor:
        page = begin(visitor, f"Ann@{domain.upper()}")
        log_in(page, ann)
        expect(page).to_have_url(home_of(live_tenant.organization))
        person = User.objects.get(email=ann)
        with scope(live_tenant.organization):
            assert Membership.objects.get(user=person).role == row.default_role == Role.VIEWER
        with scope(elsewhere.organization):
            Membership.objects.create(user=person, role=Role.OWNER)
        page.reload()
        page.get_by_label("Switch organization").click()
        expect(page.get_by_role("link", name=live_tenant.organization.name)).to_be_visible()
        expect(page.get_by_role("link", name=elsewhere.organization.name)).to_have_count(0)
        answer = page.goto(f"{live.url}/o/{elsewhere.organization.slug}/")
        assert answer is not None
        assert answer.status == 404
        visitor.complaints.clear()  # the browser tells of the 404

        page = visitor.go(f"/o/{live_tenant.organization.slug}/")
        page.locator("summary", has_text=ann).click()
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{live.url}/")
        visitor.go(f"/o/{live_tenant.organization.slug}/")
        expect(page).to_have_url(re.compile("/account/login/"))
        assert visitor.complaints == []


def test_whoever_signs_out_is_signed_out_there_too_and_one_organization_s_provider_opens_no_other(
    live: LiveServer, live_tenant: Tenant, chromium: Browser, domain: str
) -> None:
    ann, other = f"ann@{domain}", make_tenant()
    mine, theirs = uuid.uuid4(), uuid.uuid4()
    with ExitStack() as peers:
        urls = {}
        for tenant, provider_id in ((live_tenant, mine), (other, theirs)):
            peer = peers.enter_context(SamlIdp(provider_id, live.url))
            urls[provider_id] = peer.url
            text = httpx.get(peer.metadata_url).text
            with scope(tenant.organization):
                services.add(actor=tenant.actor, name="Peer", metadata_xml=text, provider_id=provider_id)
                IdentityProvider.objects.update(state="active")

        def be_ann(page: Page, provider_id: uuid.UUID) -> None:
            page.wait_for_url(f"{urls[provider_id]}/**")
            page.locator("#userName").fill(ann)
            page.locator("#email").fill(ann)
            page.locator("#btn-sign-in").click()

        with visit(chromium, live.url) as visitor:
            page = begin(visitor, ann)
            be_ann(page, mine)
            expect(page).to_have_url(home_of(live_tenant.organization))
            page.locator("summary", has_text=ann).click()
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
            expect(page.get_by_text("Here, and at Peer")).to_be_visible()
            assert visitor.serious_violations() == []
            visitor.go(f"/o/{live_tenant.organization.slug}/")
            expect(page).to_have_url(re.compile("/account/login/"))
            assert not [one for one in visitor.complaints if live.url in one]  # the peer's page wants fonts of others

            visitor.go(f"/sso/saml/{theirs}/login/")  # another organization's, which says that she is Ann
            be_ann(page, theirs)
            expect(page.get_by_text("in no domain that this organization has verified", exact=False)).to_be_visible()
    with scope(other.organization):
        assert not Membership.objects.filter(user__email=ann).exists()


def test_an_encrypted_assertion_signs_in_too_and_an_old_cipher_is_refused(
    live: LiveServer,
    live_tenant: Tenant,
    chromium: Browser,
    peer: PeerProvider,
    domain: str,
    row: IdentityProvider,
) -> None:
    cleo = f"cleo@{domain}"
    peer.people[cleo] = "Cleo Cipher"
    with visit(chromium, live.url) as visitor:
        peer.encryption = TRIPLE
        log_in(begin(visitor, cleo), cleo)
        expect(visitor.page.get_by_text("no longer safe", exact=False)).to_be_visible()
        assert not User.objects.filter(email=cleo).exists()
        peer.encryption = "aes-256"
        visitor.page.get_by_role("link", name="Begin again").click()
        visitor.page.get_by_label("Work e-mail").fill(cleo)
        visitor.page.get_by_role("button", name="Continue").click()
        log_in(visitor.page, cleo)
        expect(visitor.page).to_have_url(home_of(live_tenant.organization))
        expect(visitor.page.locator("summary", has_text="Cleo Cipher")).to_be_visible()


def test_somebody_of_another_domain_is_refused_and_told_why_and_so_is_the_owner(
    live: LiveServer,
    live_tenant: Tenant,
    chromium: Browser,
    peer: PeerProvider,
    domain: str,
    row: IdentityProvider,
) -> None:
    mallory = f"mallory@other-{uuid.uuid4().hex[:12]}.com"
    peer.people[mallory] = "Mallory"
    with visit(chromium, live.url) as visitor:
        page = begin(visitor, mallory)  # nobody has this domain
        expect(page.get_by_text("No organization has set up single sign-on for this domain")).to_be_visible()
        page.get_by_label("Work e-mail").fill(f"somebody@{domain}")
        page.get_by_role("button", name="Continue").click()
        log_in(page, mallory)
        expect(page.get_by_role("heading", name="This sign-in was refused")).to_be_visible()
        expect(page.get_by_text("in no domain that this organization has verified", exact=False)).to_be_visible()
        expect(page.get_by_text("Verify the domain under Single sign-on", exact=False)).to_be_visible()
        assert not User.objects.filter(email=mallory).exists()
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(f"/o/{live_tenant.organization.slug}/sso/providers/{row.pk}/")
        attempt = page.get_by_role("listitem").filter(has_text=mallory)
        expect(attempt.get_by_text("foreign_domain")).to_be_visible()
        expect(attempt.get_by_text("in no domain that this organization has verified", exact=False)).to_be_visible()
        expect(attempt.get_by_text("Verify the domain under Single sign-on", exact=False)).to_be_visible()


def test_an_owner_shows_again_at_the_provider_who_they_are(
    live: LiveServer,
    live_tenant: Tenant,
    chromium: Browser,
    peer: PeerProvider,
    domain: str,
    row: IdentityProvider,
) -> None:
    owner, home = f"ada@{domain}", f"/o/{live_tenant.organization.slug}/settings/"
    User.objects.filter(pk=live_tenant.owner.pk).update(email=owner)
    EmailAddress.objects.filter(user=live_tenant.owner).update(email=owner)
    peer.people[owner] = "Ada"
    with visit(chromium, live.url) as visitor:
        page = visitor.go(home)  # whoever is not signed in comes to the sign-in page, and keeps where they wanted to go
        page.get_by_role("link", name="Sign in with single sign-on").click()
        page.get_by_label("Work e-mail").fill(owner)
        page.get_by_role("button", name="Continue").click()
        log_in(page, owner)
        expect(page).to_have_url(re.compile(f"{home}$"))
        saves = page.locator("form[action$='/security/']").get_by_role("button")
        saves.click()  # a form, from which the browser would follow no redirect to another site
        expect(page.get_by_text("Nothing has changed yet")).to_be_visible()
        assert visitor.serious_violations() == []
        page.get_by_role("link", name="Continue to your identity provider").click()
        log_in(page, owner)
        expect(page).to_have_url(re.compile(f"{home}$"))
        saves.click()
        expect(page.get_by_text("A second factor is now optional")).to_be_visible()
        visitor.go(f"{home}close/")
        expect(page.get_by_role("heading", name="Close the organization")).to_be_visible()
        assert visitor.complaints == []
    assert [one.is_forced for one in peer.requests] == [False, True]


def test_a_password_leads_to_the_provider_where_the_organization_requires_it(
    live: LiveServer,
    live_tenant: Tenant,
    chromium: Browser,
    peer: PeerProvider,
    domain: str,
    row: IdentityProvider,
) -> None:
    bob, slug = add_member(live_tenant, Role.MEMBER), live_tenant.organization.slug
    address = f"bob@{domain}"
    User.objects.filter(pk=bob.pk).update(email=address)
    EmailAddress.objects.filter(user=bob).update(email=address)
    with scope(live_tenant.organization):
        Organization.objects.update(is_sso_required=True)
    peer.people[address] = "Bob"
    with visit(chromium, live.url) as visitor:
        page = visitor.go(f"/o/{slug}/keys/")
        page.get_by_label("Email").fill(address)
        page.get_by_label("Password").fill(FACTORY_PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("heading", name="Single sign-on is required")).to_be_visible()
        assert visitor.serious_violations() == []
        page.get_by_role("link", name="Continue to your identity provider").click()
        log_in(page, address)
        expect(page).to_have_url(re.compile(f"/o/{slug}/keys/$"))
        assert visitor.complaints == []


def test_pages_of_single_sign_on_have_no_serious_violation_and_fit_on_a_phone(
    live: LiveServer,
    live_tenant: Tenant,
    chromium: Browser,
    peer: PeerProvider,
    domain: str,
    row: IdentityProvider,
) -> None:
    dana, mallory = f"dana@{domain}", "mallory@example.org"
    peer.people |= {dana: "Dana", mallory: "Mallory"}

    def look(visitor: Visitor) -> None:
        assert visitor.serious_violations() == []
        visitor.page.set_viewport_size(PHONE)
        assert visitor.overflow() <= 0, visitor.page.url
        visitor.page.set_viewport_size(DESKTOP)

    with visit(chromium, live.url) as visitor:
        visitor.go("/sso/")
        look(visitor)
        page = begin(visitor, mallory)
        look(visitor)
        page.get_by_label("Work e-mail").fill(dana)
        page.get_by_role("button", name="Continue").click()
        log_in(page, mallory)
        expect(page.get_by_role("heading", name="This sign-in was refused")).to_be_visible()
        look(visitor)
    with visit(chromium, live.url) as visitor:
        log_in(begin(visitor, dana), dana)
        expect(visitor.page).to_have_url(home_of(live_tenant.organization))
    home = f"/o/{live_tenant.organization.slug}/sso/providers/"
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        for path in ("", "new/", f"{row.pk}/", f"{row.pk}/edit/", f"{row.pk}/remove/", "../groups/", "../groups/edit/"):
            page = visitor.go(home + path)
            for fold in page.locator("details.fold").all():
                fold.evaluate("it => it.open = true")
            look(visitor)
        assert visitor.complaints == []
    with visit(chromium, live.url, make_tenant().owner) as visitor:  # nothing is set up yet
        page = visitor.go("/")
        visitor.go(f"{page.url}sso/providers/")
        look(visitor)
