"""The guides: the right addresses in the vendor's words, what is entered, and what its test brings."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from capsule_cloud.web.sso_setup import GUIDES
from tenancy.groups.models import GroupRole
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.oidc import discovery
from tenancy.sso.providers import services
from tenancy.sso.providers.reasons import REASONS, Refused
from tenancy.sso.saml import fetching
from tenancy.sso.setup.models import Vendor
from tests.capsule_cloud.web.conftest import SignIn as SignInAs
from tests.capsule_cloud.web.sso_things import identity_provider, put_provider
from tests.factories import PASSWORD, Tenant, add_member
from tests.tenancy.sso.saml.conftest import own

Page = Callable[..., str]
CLIENT = {"name": "Okta", "issuer": "https://acme.okta.com", "client_id": "0oa1", "client_secret": "s3cret-of-acme"}
CLIENT |= {"token_auth_method": "client_secret_basic"}


@pytest.fixture
def begin(owner: Client, home: str) -> Callable[[str], str]:
    """Begins the setup of a provider; the path of its guide below the organization's address."""

    def begun(kind: str) -> str:
        address = owner.post(f"{home}sso/providers/new/", {"guide": kind}).headers["Location"]
        return str(address).removeprefix(home)

    return begun


def id_in(path: str) -> UUID:
    return UUID(path.split("/")[2])


def only(tenant: Tenant) -> IdentityProvider:
    with scope(tenant.organization):
        return IdentityProvider.objects.get()


def answered(tenant: Tenant, provider: IdentityProvider, **columns: Any) -> SignIn:
    with scope(tenant.organization):
        values: dict[str, Any] = {"provider_version": 1, "expires_at": timezone.now(), "subject": "00u1"}
        return SignIn.objects.create(provider=provider, **values | columns)


def test_every_vendor_has_a_guide_to_both_protocols(page: Page) -> None:
    assert {vendor for vendor, _ in GUIDES} == set(Vendor.values)
    assert {protocol for _, protocol in GUIDES} == {"saml", "oidc"}
    text = page("sso/providers/new/")
    for vendor, protocol in GUIDES:
        assert f'value="{vendor}-{protocol}"' in text


def test_a_guide_says_what_to_copy_before_there_is_a_provider(
    page: Page, begin: Callable[[str], str], settings: Any
) -> None:
    for (vendor, protocol), guide in GUIDES.items():
        path = begin(f"{vendor}-{protocol}")
        text = page(path)
        ours = f"{settings.PUBLIC_URL}/sso/{protocol}/{id_in(path)}"
        for part in [f"{ours}/acs/", f"{ours}/metadata/"] if protocol == "saml" else [f"{ours}/callback/"]:
            assert part in text, path
        assert sum(step.asks for step in guide.steps) == 1
        for step in guide.steps:
            assert escape(step.title) in text, (vendor, protocol)
            assert step.picture is None or escape(step.picture.told) in text, (vendor, protocol)
        assert "**" not in text, (vendor, protocol)
        assert 'style="' not in text  # the policy would refuse it


def test_a_setup_that_nobody_began_is_not_there(stranger: Tenant, owner: Client, home: str, post: Page) -> None:
    assert owner.post(f"{home}sso/providers/new/", {"guide": "acme-saml"}).status_code == 404
    assert owner.get(f"{home}sso/providers/{stranger.organization.pk}/guide/").status_code == 404
    post(f"sso/providers/{stranger.organization.pk}/guide/", {"name": "x"}, status=404)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": "", "metadata": "x"}, "This field is required"),
        ({}, "its address, a file, or as text"),
        ({"metadata": "<script>alert(1)"}, "This is no XML"),
        ({"metadata": "<a/>"}, "describes no identity provider"),
        ({"metadata_url": "http://metadata.google.internal/"}, "id_metadata_url_error"),
        ({"metadata_url": "https://idp.example.com/x"}, "The address answered with the status 500"),
        ({"metadata_file": SimpleUploadedFile("x.xml", b"\xff\xfe\x00")}, "no text in UTF-8"),
    ],
)
def test_what_is_wrong_with_metadata_is_said_and_nothing_is_added(
    tenant: Tenant,
    begin: Callable[[str], str],
    post: Page,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, Any],
    sentence: str,
) -> None:
    def fail(url: str, certificate: str) -> str:
        raise fetching.Unfetched("The address answered with the status 500 instead of metadata.")

    monkeypatch.setattr(fetching, "fetch", fail)
    text = post(begin("okta-saml"), {"name": "Typed"} | wrong, status=422)
    assert sentence in text
    assert "<script>alert" not in text
    with scope(tenant.organization):
        assert not IdentityProvider.objects.exists()


def test_metadata_is_read_at_its_address(
    tenant: Tenant, begin: Callable[[str], str], post: Page, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = "https://idp.example.com/metadata", []

    def fetch(*what: str) -> str:
        asked.append(what)
        return identity_provider().metadata()

    monkeypatch.setattr(fetching, "fetch", fetch)
    path = begin("okta-saml")
    text = post(path, {"name": "Okta", "metadata_url": url})
    assert "Waiting for the first sign-in" in text
    row = only(tenant)
    assert (row.pk, row.metadata_url, asked) == (id_in(path), url, [(url, "")])
    shown = page(f"sso/providers/{row.pk}/")
    for part in ("read daily", url, "here alone"):
        assert part in shown
    assert "Read anew." in post(f"sso/providers/{row.pk}/ask/")
    edit = {"name": "Okta", "metadata_url": f"{url}/2", "metadata": row.metadata, "default_role": "viewer"}
    assert "Saved." in post(f"sso/providers/{row.pk}/edit/", edit)
    assert asked[-1] == (f"{url}/2", "")
    with scope(tenant.organization):
        IdentityProvider.objects.update(metadata_failures=3, metadata_failure="The address is <gone>.")
    shown = page(f"sso/providers/{row.pk}/")
    for part in ("cannot be read", "The address is &lt;gone&gt;.", "What was read before still counts"):
        assert part in shown


def test_pasted_metadata_has_no_address_to_ask(tenant: Tenant, post: Page) -> None:
    assert "The metadata was pasted" in post(f"sso/providers/{put_provider(tenant).pk}/ask/")


def test_an_openid_provider_is_entered_asked_and_its_secret_never_shown(
    tenant: Tenant, begin: Callable[[str], str], post: Page, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        "authorization_endpoint": "https://acme.okta.com/authorize",
        "token_endpoint": "https://acme.okta.com/token",
    }
    found |= {"jwks_uri": "https://acme.okta.com/keys", "algorithms": ["RS256"], "backchannel_logout_supported": True}  # type: ignore[dict-item]

    def document(provider: IdentityProvider) -> Any:
        with scope(tenant.organization):
            IdentityProvider.objects.update(discovered=found, discovered_at=timezone.now())
        return found

    monkeypatch.setattr(discovery, "document", document)
    path = begin("okta-oidc")
    assert "id_issuer_error" in post(path, CLIENT | {"issuer": "acme"}, status=422)
    text = post(path, CLIENT)
    shown = page(f"sso/providers/{only(tenant).pk}/")
    for part in ("https://acme.okta.com/authorize", "RS256"):
        assert part in text
        assert part in shown
    for part in ("kept, encrypted", "/backchannel-logout/", "who signs out there is signed out here"):
        assert part in shown
    edit = page(f"sso/providers/{only(tenant).pk}/edit/")
    for somewhere in (text, shown, edit):
        assert CLIENT["client_secret"] not in somewhere
    sealed = bytes(only(tenant).client_secret or b"")
    changed = CLIENT | {"client_secret": "", "name": "Okta 2", "default_role": "member"}
    assert "Saved." in post(f"sso/providers/{only(tenant).pk}/edit/", changed)
    assert (only(tenant).name, bytes(only(tenant).client_secret or b"")) == ("Okta 2", sealed)
    assert "Read anew." in post(f"sso/providers/{only(tenant).pk}/ask/")


def test_an_openid_provider_that_cannot_be_asked_is_kept_and_says_why(
    tenant: Tenant, begin: Callable[[str], str], post: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def document(provider: IdentityProvider) -> Any:
        raise Refused("discovered_issuer")

    monkeypatch.setattr(discovery, "document", document)
    assert escape(REASONS["discovered_issuer"].remedy) in post(begin("entra-oidc"), CLIENT)
    assert escape(REASONS["discovered_issuer"].sentence) in post(f"sso/providers/{only(tenant).pk}/ask/")


@pytest.mark.parametrize(("kind", "issuer"), [("google-oidc", "https://accounts.google.com"), ("okta-oidc", "")])
def test_an_issuer_that_everybody_has_is_there_already(
    page: Page, begin: Callable[[str], str], kind: str, issuer: str
) -> None:
    text = page(begin(kind))
    assert (f'name="issuer" value="{issuer}"' in text) == bool(issuer)


def test_a_guide_shows_what_the_last_answer_would_make_of_somebody(tenant: Tenant, page: Page) -> None:
    provider, domain = put_provider(tenant), own(tenant)
    path = f"sso/providers/{provider.pk}/guide/"
    assert "Waiting for the first sign-in" in page(path)
    with scope(tenant.organization):
        GroupRole.objects.create(group="ops", role=Role.ADMIN)
    asserted = {"email": ["ann@elsewhere.com"], "displayName": ["Ann <b>"], "groups": ["ops", "all"]}
    answered(tenant, provider, state="tested", attributes=asserted)
    text = page(path)
    for part in ("ann@elsewhere.com is in no verified domain", "Ann &lt;b&gt;", "ops", "Admin", "by their groups"):
        assert part in text
    answered(tenant, provider, state="tested", attributes={"email": [f"ann@{domain}"]})
    text = page(path)
    assert "is in no verified domain" not in text
    assert "by their groups" not in text
    answered(tenant, provider, state="refused", code="audience", detail="<i>")
    text = page(path)
    for part in ("The last answer was refused", escape(REASONS["audience"].remedy), "&lt;i&gt;"):
        assert part in text


def test_the_steps_lead_on_to_what_is_next(tenant: Tenant, page: Page, post: Page, begin: Callable[[str], str]) -> None:
    assert "0 of 5 done" in page("sso/")
    begin("onelogin-saml")
    assert "Go on with OneLogin" in page("sso/")
    own(tenant)
    provider = put_provider(tenant)
    text = page("sso/")
    assert "Waiting for the first sign-in by Okta" in text
    assert 'hx-trigger="every 5s"' in text
    with scope(tenant.organization):
        IdentityProvider.objects.update(tested_at=timezone.now())
    assert "Switch Okta on" in page("sso/")
    post(f"sso/providers/{provider.pk}/switch/", {"is_on": "1", "version": "1"})
    text = page("sso/")
    assert "4 of 5 done" in text
    assert "hx-trigger" not in text


def test_our_key_is_replaced_step_by_step(tenant: Tenant, owner: Client, home: str, page: Page, post: Page) -> None:
    path = f"sso/providers/{put_provider(tenant).pk}/"
    assert owner.post(f"{home}{path}key/", {"step": "prepare"}).headers["Location"].startswith("/account/reauth")
    owner.post("/account/reauthenticate/", {"password": PASSWORD})
    assert "Make the next one" in page(path)
    assert "Let the next one take over" in post(f"{path}key/", {"step": "prepare"})
    assert "Take the old one back" in post(f"{path}key/", {"step": "switch"})
    assert "Make the next one" in post(f"{path}key/", {"step": "drop"})
    assert "There is one key alone" in post(f"{path}key/", {"step": "drop"})
    post(f"{path}key/", {"step": "steal"}, status=404)


def test_a_certificate_that_ends_is_said_on_every_page_to_who_can_do_something(
    tenant: Tenant, page: Page, sign_in: SignInAs
) -> None:
    put_provider(tenant, state="active", name="Okta EU")
    ends = {29: "ends in 29 days", 14: "ends in 14 days", 1: "ends tomorrow", 0: "ends today", -2: "has ended"}
    for days, says in ({31: ""} | ends).items():
        with scope(tenant.organization):
            moment = timezone.now() + timedelta(days=days, hours=1)
            IdentityProvider.objects.update(certificate_expires_at=moment)
        text = page("")
        assert ("The certificate of Okta EU" in text) == bool(says), days
        assert says in text, days
    assert "The certificate of" not in page("", browser=sign_in(add_member(tenant, Role.MEMBER)))
    with scope(tenant.organization):
        IdentityProvider.objects.update(state="off")
    assert "The certificate of" not in page("")


def test_metadata_that_ends_is_said_unless_it_is_read_again_by_itself(tenant: Tenant, page: Page) -> None:
    ends = timezone.now() + timedelta(days=3, hours=1)
    put_provider(tenant, state="active", metadata_valid_until=ends)
    assert "The metadata of Okta ends in 3 days." in page("")
    with scope(tenant.organization):
        IdentityProvider.objects.update(metadata_url="https://idp.example.com/metadata")
    assert "The metadata of Okta" not in page("")


def test_two_who_enter_the_same_provider_add_it_once(
    tenant: Tenant, begin: Callable[[str], str], post: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begin("okta-saml")
    entered = {"name": "Okta", "metadata": identity_provider().metadata()}
    post(path, entered)
    assert "Waiting for the first sign-in" in post(path, entered | {"name": "Another"})
    assert only(tenant).name == "Okta"
    monkeypatch.setattr(services, "MOST_PROVIDERS", 1)
    assert "remove one first" in post(begin("okta-saml"), entered, status=422)
