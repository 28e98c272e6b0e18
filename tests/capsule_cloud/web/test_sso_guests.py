"""What an IT admin may do by a setup link, from the first click to the test; and what stays the members' own."""

from collections.abc import Callable
from datetime import timedelta
from random import SystemRandom
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from capsule_cloud.web import sso_start
from tenancy.models import Membership, Organization
from tenancy.roles import Role
from tenancy.scim.directories import services as directories
from tenancy.scim.models import Directory
from tenancy.scope import scope
from tenancy.sso.domains import services as domains
from tenancy.sso.models import IdentityProvider, SignIn, VerifiedDomain
from tenancy.sso.oidc import discovery
from tenancy.sso.setup import services
from tenancy.sso.setup.models import SetupLink
from tests.capsule_cloud.web.conftest import SignIn as SignInAs
from tests.capsule_cloud.web.sso_things import identity_provider, put, put_provider
from tests.factories import PASSWORD, Tenant, add_member
from tests.tenancy.sso.conftest import name, write_record, zone
from tests.tenancy.sso.saml.conftest import own
from tests.tenancy.sso.test_views import come_back, sent_away
from tests.trail import audited
from tests.zones import Zone

__all__ = ["name", "zone"]
SETUP = "/sso/setup/"
Page = Callable[..., str]


def browser() -> Client:
    """Somebody at an address of their own: guesses are limited by address."""
    return Client(REMOTE_ADDR=".".join(str(SystemRandom().randrange(1, 255)) for _ in range(4)))


@pytest.fixture
def link(tenant: Tenant) -> services.NewLink:
    """A link that nobody has opened."""
    with scope(tenant.organization):
        return services.make(actor=tenant.actor, user=tenant.owner, name="Ann of IT")


@pytest.fixture
def guest(link: services.NewLink) -> Client:
    """The browser that has taken it."""
    client = browser()
    client.get(f"{SETUP}{link.secret}/")
    assert client.post(f"{SETUP}begin/").status_code == 302
    return client


def begun(guest: Client, kind: str = "okta-saml") -> str:
    """The address of the guide to a provider that is being set up."""
    return str(guest.post(f"{SETUP}providers/new/", {"guide": kind}).headers["Location"])


def test_a_link_is_opened_by_a_click_and_its_secret_leaves_the_address(tenant: Tenant, link: services.NewLink) -> None:
    client = browser()
    answer = client.get(f"{SETUP}{link.secret}/")
    assert (answer.status_code, answer.headers["Location"]) == (302, SETUP)
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer.headers["Cache-Control"]
    cookie = client.cookies["sso_setup_key"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/sso/")
    text = client.get(SETUP).content.decode()
    for part in ("Begin in this browser", tenant.organization.name, tenant.owner.email):
        assert part in text
    with scope(tenant.organization):
        assert SetupLink.objects.get().opened_at is None  # a program that looks at links in mails takes none
    assert client.post(f"{SETUP}begin/").headers["Location"] == SETUP
    assert client.cookies["sso_setup_key"].value == ""
    assert link.secret not in client.cookies["sso_setup"].value
    page = client.get(SETUP)
    assert "Prove a domain" in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]
    assert client.get(f"{SETUP}{link.secret}/").headers["Location"] == SETUP


def test_the_second_browser_reads_whom_to_ask(tenant: Tenant, link: services.NewLink, guest: Client) -> None:
    answer = browser().get(f"{SETUP}{link.secret}/")
    assert answer.status_code == 410
    for part in ("in use in another browser", f"Ask {tenant.owner.email} for a new one"):
        assert part in answer.content.decode()
    assert guest.get(SETUP).status_code == 200


def test_a_link_that_is_over_says_so_and_one_that_never_was_is_not_there(
    tenant: Tenant, link: services.NewLink, guest: Client
) -> None:
    early = browser()
    with scope(tenant.organization):
        other = services.make(actor=tenant.actor, user=tenant.owner, name="Bob")
    early.get(f"{SETUP}{other.secret}/")
    with scope(tenant.organization):
        SetupLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for client, path in (
        (guest, SETUP),
        (guest, f"{SETUP}domains/new/"),
        (early, SETUP),
        (browser(), f"{SETUP}{other.secret}/"),
    ):
        answer = client.get(path)
        assert (answer.status_code, "has expired" in answer.content.decode()) == (410, True)
    with scope(tenant.organization):
        another = services.make(actor=tenant.actor, user=tenant.owner, name="Ann again")
    guest.get(f"{SETUP}{another.secret}/")
    assert "Begin in this browser" in guest.get(SETUP).content.decode()
    with scope(tenant.organization):
        services.revoke(actor=tenant.actor, link_id=another.link.pk)
    for answer in (guest.get(SETUP), guest.post(f"{SETUP}begin/")):
        assert (answer.status_code, "was ended" in answer.content.decode()) == (410, True)
    with scope(tenant.organization):
        SetupLink.objects.all().delete()
    for answer in (guest.get(SETUP), guest.post(f"{SETUP}begin/")):
        assert answer.status_code == 404
    assert browser().get(f"{SETUP}{'x' * 43}/").status_code == 404


def test_nobody_guesses_links_by_the_hundred(link: services.NewLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sso_start, "MOST_GUESSES", 2)
    client = browser()
    assert client.get(f"{SETUP}{link.secret}/").status_code == 302
    assert [client.get(f"{SETUP}{guess}/").status_code for guess in "abc"] == [404, 404, 429]


def test_a_forged_or_foreign_cookie_opens_nothing(tenant: Tenant, guest: Client) -> None:
    for value in ("", "forged", guest.cookies["sso_setup"].value[:-1]):
        client = browser()
        client.cookies["sso_setup"] = value
        assert client.get(SETUP).status_code == 404


def test_a_guest_proves_a_domain(tenant: Tenant, guest: Client, zone: Zone, name: str) -> None:
    answer = guest.post(f"{SETUP}domains/new/", {"domain": name}, follow=True)
    text = answer.content.decode()
    assert f"_capsule-challenge.{name}" in text
    assert "Remove" not in text
    with scope(tenant.organization):
        domain = VerifiedDomain.objects.get()
    write_record(zone, domain)
    assert f"{name} is yours." in guest.post(f"{SETUP}domains/{domain.pk}/check/", follow=True).content.decode()
    with scope(tenant.organization):
        [added] = audited("sso.domain.added")
        [proved] = audited("sso.domain.verified")
    assert (added.actor["kind"], added.actor["label"]) == ("setup_link", "Setup link: Ann of IT")
    assert proved.actor["kind"] == "setup_link"
    assert "is in the list already" in guest.post(f"{SETUP}domains/new/", {"domain": name}).content.decode()


def test_a_guest_connects_a_provider_tries_it_and_switches_nothing_on(
    tenant: Tenant, guest: Client, post: Page, page: Page
) -> None:
    domain, path = own(tenant), begun(guest)
    idp = identity_provider()
    text = guest.get(path).content.decode()
    for part in ("Audience URI (SP Entity ID)", "Create App Integration", "/acs/", "user.displayName"):
        assert part in text
    file = SimpleUploadedFile("metadata.xml", idp.metadata().encode(), "text/xml")
    answer = guest.post(path, {"name": "Okta", "metadata_file": file}, follow=True)
    assert "Waiting for the first sign-in" in answer.content.decode()
    with scope(tenant.organization):
        row = IdentityProvider.objects.get()
    assert str(row.pk) in path  # the addresses that were copied before stay true
    text = guest.get(path).content.decode()
    for part in ('hx-trigger="every 3s"', f"/sso/saml/{row.pk}/metadata/", "Download our metadata"):
        assert part in text
    back = come_back(
        guest,
        row,
        idp,
        idp.says(row, "ann@elsewhere.com", sent_away(guest, row, test="1")).but(
            attributes={"displayName": ["Ann"], "groups": ["eng", "it"]}
        ),
    )
    assert back.headers["Location"] == path
    text = guest.get(path, headers={"HX-Request": "true"}).content.decode()
    for part in ("The test came through.", "ann@elsewhere.com", "Ann", "eng", "Viewer", "your part is done"):
        assert part in text
    assert "hx-trigger" not in text
    assert "Switch on" not in text
    assert "Your part is done." in guest.get(SETUP).content.decode()
    with scope(tenant.organization):
        assert (IdentityProvider.objects.get().state, SignIn.objects.get().state) == ("draft", "tested")
        assert Membership.objects.count() == 1
        assert {one.actor["kind"] for one in audited("sso.provider.")} == {"setup_link"}
    assert "Switch Okta on" in page("sso/")
    assert "People of your domains sign in by it now." in post(
        f"sso/providers/{row.pk}/switch/", {"is_on": "1", "version": str(row.version)}
    )
    assert domain in page("sso/")


def test_a_refused_test_is_shown_with_what_helps(tenant: Tenant, guest: Client) -> None:
    path, idp = begun(guest), identity_provider()
    guest.post(path, {"name": "Okta", "metadata": idp.metadata()})
    with scope(tenant.organization):
        row = IdentityProvider.objects.get()
    said = idp.says(row, "ann@acme.com", sent_away(guest, row, test="1"))
    guest.post(f"/sso/saml/{row.pk}/acs/", {"SAMLResponse": idp.answer(said.but(audience="https://wrong.example"))})
    text = guest.get(path, headers={"HX-Request": "true"}).content.decode()
    for part in ("The last answer was refused", "made for another service", "letter for letter", "Test again"):
        assert part in text


def test_a_guest_says_where_the_address_stands_until_the_provider_is_switched_on(
    tenant: Tenant, guest: Client, post: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begun(guest)
    guest.post(path, {"name": "Okta", "metadata": identity_provider().metadata()})
    wanted = {"email_attribute": "mail2", "name_attribute": "cn", "default_role": "owner", "name": "Mine"}
    assert "Saved. Test again." in guest.post(f"{path}reading/", wanted, follow=True).content.decode()
    assert "at most 255" in guest.post(f"{path}reading/", {"name_attribute": "x" * 256}, follow=True).content.decode()
    with scope(tenant.organization):
        row = IdentityProvider.objects.get()
        assert (row.name, row.email_attribute, row.name_attribute, row.default_role) == (
            "Okta",
            "mail2",
            "cn",
            "viewer",
        )
        IdentityProvider.objects.update(state="active")
    assert guest.post(f"{path}reading/", wanted).status_code == 404
    client = {"name": "E", "issuer": "https://a.example.com", "client_id": "x", "client_secret": "y"}
    monkeypatch.setattr(discovery, "document", lambda provider: {})
    path = begun(guest, "entra-oidc")
    guest.post(path, client | {"token_auth_method": "client_secret_post", "more_scopes": "groups"})
    guest.post(f"{path}reading/", {"email_attribute": "preferred_username"})
    with scope(tenant.organization):
        row = IdentityProvider.objects.get(protocol="oidc")
    assert (row.email_attribute, row.more_scopes, row.client_id) == ("preferred_username", "groups", "x")
    assert "Saved. Test again." in post(f"sso/providers/{row.pk}/guide/reading/", {"email_attribute": ""})


def test_a_guest_takes_back_a_draft_and_nothing_that_was_switched_on(tenant: Tenant, guest: Client) -> None:
    path = begun(guest)
    guest.post(path, {"name": "Okta", "metadata": identity_provider().metadata()})
    assert "Our addresses are the same" in guest.post(f"{path}restart/", follow=True).content.decode()
    guest.post(path, {"name": "Okta", "metadata": identity_provider().metadata()})
    for state in ("active", "off"):
        with scope(tenant.organization):
            IdentityProvider.objects.update(state=state)
        assert "in use, or was" in guest.post(f"{path}restart/", follow=True).content.decode()
        guest.post(path, {"name": "Mine", "metadata": identity_provider().metadata()})
        with scope(tenant.organization):
            assert IdentityProvider.objects.get().name == "Okta"


def test_a_guest_sees_nothing_else_of_the_organization(tenant: Tenant, guest: Client, home: str) -> None:
    add_member(tenant, Role.VIEWER, "Vera")
    other = put_provider(tenant)
    for path in ("", "sso/", "sso/providers/", f"sso/providers/{other.pk}/", "sso/links/", "members/", "settings/"):
        assert guest.get(f"{home}{path}").headers["Location"].startswith("/account/login/")
    for path in (f"sso/providers/{other.pk}/switch/", f"sso/providers/{other.pk}/remove/", "sso/providers/require/"):
        assert guest.post(f"{home}{path}", {"is_on": "1"}).headers["Location"].startswith("/account/login/")
    assert guest.post(f"{SETUP}providers/{other.pk}/restart/").status_code == 404  # it was added without a guide
    text = guest.get(SETUP).content.decode() + guest.get(f"{SETUP}providers/{other.pk}/").content.decode()
    assert "vera" not in text.lower().replace("coverage", "")
    assert f"/o/{tenant.organization.slug}/" not in text


def test_a_link_of_one_organization_opens_nothing_of_another(
    tenant: Tenant, stranger: Tenant, guest: Client, zone: Zone, name: str
) -> None:
    theirs, domain = put_provider(stranger), put(stranger, name)
    for path in (f"domains/{domain.pk}/", f"providers/{theirs.pk}/"):
        assert guest.get(f"{SETUP}{path}").status_code == 404
    for path in (f"domains/{domain.pk}/check/", f"providers/{theirs.pk}/restart/"):
        assert guest.post(f"{SETUP}{path}").status_code == 404
    assert guest.get(f"/sso/saml/{theirs.pk}/login/", {"test": "1"}).status_code == 404
    assert not zone.asked


def test_a_guest_prepares_a_directory_that_a_member_switches_on(
    tenant: Tenant, stranger: Tenant, guest: Client, page: Page
) -> None:
    assert guest.post(f"{SETUP}directories/new/", {"kind": "x", "name": "y"}).status_code == 422
    path = guest.post(f"{SETUP}directories/new/", {"kind": "okta", "name": "Staff", "default_role": "owner"}).headers[
        "Location"
    ]
    with scope(tenant.organization):
        directory = Directory.objects.get()
        assert (directory.is_on, directory.default_role) == (False, "viewer")
        assert {one.actor["kind"] for one in audited("scim.")} == {"setup_link"}
    text = guest.get(path).content.decode()
    for part in ("/scim/v2", "cms_", "SCIM connector base URL", "It is refused until"):
        assert part in text
    assert "The token was shown once." in guest.get(path).content.decode()
    assert "Staff" in guest.get(SETUP).content.decode()
    assert "switched off" in page("sso/directories/")
    with scope(stranger.organization):
        theirs = directories.add(actor=stranger.actor, actor_role=Role.OWNER, name="Theirs", kind="okta")[0]
    assert guest.get(f"{SETUP}directories/{theirs.pk}/").status_code == 404


def test_a_test_ends_with_the_link(tenant: Tenant, guest: Client) -> None:
    row, idp = put_provider(tenant), identity_provider()
    said = idp.says(row, "ann@acme.com", sent_away(guest, row, test="1"))
    with scope(tenant.organization):
        services.revoke(actor=tenant.actor, link_id=SetupLink.objects.get().pk)
    assert come_back(guest, row, idp, said).status_code == 404
    assert guest.get(f"/sso/saml/{row.pk}/login/", {"test": "1"}).status_code == 404
    with scope(tenant.organization):
        assert IdentityProvider.objects.get().tested_at is None


def test_a_guest_leaves(guest: Client) -> None:
    assert guest.post(f"{SETUP}leave/").headers["Location"] == "/"
    assert guest.get(SETUP).status_code == 404


def test_forms_of_guests_need_their_token(link: services.NewLink) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get(f"{SETUP}{link.secret}/")
    assert client.post(f"{SETUP}begin/").status_code == 403
    assert (
        client.get(SETUP).headers["Referrer-Policy"] == "same-origin"
    )  # with none, browsers hide where a form is from


def test_members_make_show_once_and_end_links(
    tenant: Tenant, owner: Client, home: str, page: Page, post: Page, settings: Any
) -> None:
    assert owner.get(f"{home}sso/links/new/").headers["Location"].startswith("/account/reauthenticate/")
    owner.post("/account/reauthenticate/", {"password": PASSWORD})
    assert "Let your IT admin do it" in page("sso/links/")
    assert "id_email_error" in post("sso/links/new/", {"name": "Ann", "email": "x"}, status=422)
    answer = owner.post(f"{home}sso/links/new/", {"name": "Ann <b>"})
    shown = owner.get(answer.headers["Location"]).content.decode()
    assert f"{settings.PUBLIC_URL}{SETUP}" in shown
    assert "shown already" in owner.get(answer.headers["Location"]).content.decode()
    assert "Ann &lt;b&gt;" in page("sso/links/")
    with scope(tenant.organization):
        link = SetupLink.objects.get()
    assert "not opened yet" in page("sso/")
    assert "The link is ended." in post(f"sso/links/{link.pk}/revoke/")
    post(f"sso/links/{link.pk}/revoke/", status=404)
    page(f"sso/links/{tenant.organization.pk}/", 404)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.BILLING])
def test_who_may_not_set_up_makes_no_link(tenant: Tenant, home: str, sign_in: SignInAs, role: Role) -> None:
    client = sign_in(add_member(tenant, role))
    for path in ("sso/", "sso/links/", "sso/links/new/", "sso/sign-ins/"):
        assert client.get(home + path).status_code == 403
    assert client.post(f"{home}sso/links/new/", {"name": "Me"}).status_code == 403


def test_a_closed_organization_ends_its_links(tenant: Tenant, guest: Client) -> None:
    with scope(tenant.organization):
        Organization.objects.update(closed_at=timezone.now())
    assert guest.get(SETUP).status_code == 410


def test_a_check_too_soon_is_told(
    tenant: Tenant, guest: Client, zone: Zone, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domains, "WAIT", timedelta(hours=1))
    domain = put(tenant, name)
    guest.post(f"{SETUP}domains/{domain.pk}/check/")
    assert "a moment ago" in guest.post(f"{SETUP}domains/{domain.pk}/check/", follow=True).content.decode()
