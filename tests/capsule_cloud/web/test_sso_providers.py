"""The console's identity providers: what an empty page teaches, what to copy where, and why somebody was refused."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from capsule_cloud.web import sso_providers
from tenancy.models import Organization
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn, VerifiedDomain
from tenancy.sso.providers.reasons import REASONS
from tests.capsule_cloud.web import conftest as console
from tests.capsule_cloud.web.sso_things import identity_provider, put_provider
from tests.factories import Tenant, add_member
from tests.identity_provider import SamlProvider, pair
from tests.tenancy.sso.saml.conftest import own

Page = Callable[..., str]
BUTTONS = ("Add provider", "Test", "Switch on", "Change", "Remove")


@pytest.fixture
def provider(tenant: Tenant) -> IdentityProvider:
    """A provider that was added just now."""
    return put_provider(tenant)


@pytest.fixture
def admin(tenant: Tenant, sign_in: console.SignIn) -> Client:
    """The browser of an admin."""
    return sign_in(add_member(tenant, Role.ADMIN, "Bea"))


def form(**other: Any) -> dict[str, Any]:
    """The settings form as it stands there, with these fields changed."""
    text = identity_provider().metadata()
    kept = {"name": "Okta", "metadata": text, "email_attribute": "", "name_attribute": "", "default_role": "viewer"}
    return kept | other


def trace(tenant: Tenant, provider: IdentityProvider, **columns: Any) -> None:
    """An answer of the provider."""
    with scope(tenant.organization):
        values: dict[str, Any] = {"provider_version": 1, "expires_at": timezone.now()}
        SignIn.objects.create(provider=provider, **values | columns)


def only(tenant: Tenant) -> IdentityProvider:
    with scope(tenant.organization):
        return IdentityProvider.objects.get()


def test_an_empty_page_teaches(page: Page) -> None:
    text = page("sso/providers/")
    for part in ("Connect your identity provider", "Say whose it is", "Test it, then switch it on"):
        assert part in text
    assert "No domain of yours is verified yet." in text


def test_the_settings_lead_to_the_providers(page: Page, viewer: Client) -> None:
    assert 'sso/"' in page("settings/")
    assert 'sso/"' not in page("settings/", browser=viewer)


def test_what_to_copy_is_on_the_page_of_a_provider(page: Page, provider: IdentityProvider, settings: Any) -> None:
    text = page(f"sso/providers/{provider.pk}/")
    ours = f"{settings.PUBLIC_URL}/sso/saml/{provider.pk}"
    for part in ("not tested", f"{ours}/acs/", f"{ours}/metadata/", identity_provider().entity_id):
        assert part in text
    assert "Nobody has come yet." in text
    assert "No domain of yours is verified yet." in text
    assert f"/sso/saml/{provider.pk}/login/?test=1" in text


def test_a_list_says_the_state_of_each(tenant: Tenant, page: Page) -> None:
    own(tenant)
    soon, tested_at = timezone.now() + timedelta(days=5, hours=1), timezone.now()
    put_provider(tenant, name="Drafted <b>")
    put_provider(tenant, name="Tested", tested_at=tested_at)
    put_provider(tenant, name="Used", tested_at=tested_at, state="active", certificate_expires_at=soon)
    put_provider(tenant, name="Left", state="off")
    text = page("sso/providers/")
    for part in ("Drafted &lt;b&gt;", "not tested", "tested, not in use", "in use", "switched off", "5 days"):
        assert part in text
    assert "No domain of yours is verified yet." not in text


@pytest.mark.parametrize(
    ("wrong", "field", "sentence"),
    [
        ({"name": ""}, "name", "This field is required"),
        ({"name": "x" * 121}, "name", "at most 120 characters"),
        ({"metadata": ""}, "metadata", "This field is required"),
        ({"metadata": "<script>"}, "metadata", "This is no XML"),
        ({"metadata": "<a/>"}, "metadata", "describes no identity provider"),
        ({"metadata": "x" * 256 * 1024 + "y"}, "metadata", "at most 256 KB"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_what_was_typed_stays(
    post: Page, provider: IdentityProvider, wrong: dict[str, str], field: str, sentence: str
) -> None:
    text = post(f"sso/providers/{provider.pk}/edit/", form(name="Typed") | wrong, status=422)
    assert f'id="id_{field}_error"' in text
    assert sentence in text
    assert "<script>alert" not in text
    if field == "metadata":
        assert 'value="Typed"' in text


def test_the_form_shows_what_is_there_and_keeps_what_is_changed(
    tenant: Tenant, page: Page, post: Page, provider: IdentityProvider
) -> None:
    text = page(f"sso/providers/{provider.pk}/edit/")
    assert escape(provider.metadata) in text
    text = post(
        f"sso/providers/{provider.pk}/edit/",
        form(name="Okta EU", email_attribute="mail", default_role="member", is_unsolicited_allowed="on"),
    )
    for part in ("Saved.", "Okta EU", "mail", "Member", "not as it is now"):
        assert part in text
    now = only(tenant)
    assert (now.version, now.is_unsolicited_allowed, now.default_role) == (2, True, "member")
    post(f"sso/providers/{provider.pk}/edit/", form(name="Okta EU"))
    assert not only(tenant).is_unsolicited_allowed


def test_renewed_certificates_are_taken_and_another_provider_s_metadata_is_not(
    tenant: Tenant, post: Page, provider: IdentityProvider
) -> None:
    path = f"sso/providers/{provider.pk}/edit/"
    assert "Saved." in post(path, form(metadata=identity_provider().metadata(pair(days=9)[1])))
    assert only(tenant).next_certificate_expires_at < timezone.now() + timedelta(days=10)  # type: ignore[operator]
    assert "another identity provider" in post(path, form(metadata=SamlProvider().metadata()), status=422)


def test_an_admin_does_not_make_newcomers_owners(
    tenant: Tenant, post: Page, provider: IdentityProvider, admin: Client
) -> None:
    path = f"sso/providers/{provider.pk}/edit/"
    assert "Only an owner" in post(path, form(default_role="owner"), browser=admin, status=422)
    assert "Select a valid choice" in post(path, form(default_role="king"), status=422)
    assert "Saved." in post(path, form(default_role="owner"))
    assert only(tenant).default_role == "owner"


def test_a_provider_is_switched_on_and_off(tenant: Tenant, post: Page, provider: IdentityProvider) -> None:
    path = f"sso/providers/{provider.pk}/switch/"
    assert "It was changed since you opened the page" in post(path, {"is_on": "1", "version": "0"})
    assert "Test it first" in post(path, {"is_on": "1", "version": "1"})
    with scope(tenant.organization):
        IdentityProvider.objects.update(tested_at=timezone.now())
    assert "Verify a domain first" in post(path, {"is_on": "1", "version": "1"})
    own(tenant)
    text = post(path, {"is_on": "1", "version": "1"})
    assert "People of your domains sign in by it now." in text
    assert "Switch off" in text
    text = post(path, {"is_on": "0"})
    assert "Nobody signs in by it any more." in text
    assert "Switch on" in text
    assert only(tenant).state == "off"


def test_a_look_switches_nothing(owner: Client, home: str, provider: IdentityProvider) -> None:
    assert owner.get(f"{home}sso/providers/{provider.pk}/switch/").status_code == 405
    for path in ("", f"{provider.pk}/"):
        assert owner.post(f"{home}sso/providers/{path}").status_code == 405


def test_a_provider_is_removed_once_it_was_asked_for(
    tenant: Tenant, page: Page, post: Page, provider: IdentityProvider
) -> None:
    assert "Accounts and memberships stay." in page(f"sso/providers/{provider.pk}/remove/")
    assert only(tenant).pk == provider.pk
    assert "Okta is removed." in post(f"sso/providers/{provider.pk}/remove/")
    for path in ("", "edit/", "remove/"):
        page(f"sso/providers/{provider.pk}/{path}", 404)


def test_a_certificate_about_to_end_is_a_warning(tenant: Tenant, page: Page, provider: IdentityProvider) -> None:
    warning = "A certificate of the identity provider"
    assert warning not in page(f"sso/providers/{provider.pk}/")
    for days, is_warned in ((31, False), (29, True), (-3, True)):
        with scope(tenant.organization):
            IdentityProvider.objects.update(certificate_expires_at=timezone.now() + timedelta(days=days, hours=1))
        assert (warning in page(f"sso/providers/{provider.pk}/")) == is_warned


def test_every_refusal_is_shown_with_its_reason_and_what_helps(
    tenant: Tenant, page: Page, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sso_providers, "SHOWN", len(REASONS))
    for code in REASONS:
        trace(tenant, provider, state="refused", code=code, detail="<b>why</b>")
    text = page(f"sso/providers/{provider.pk}/")
    for code, reason in REASONS.items():
        for part in (code, escape(reason.sentence), escape(reason.remedy)):
            assert part in text
    assert "&lt;b&gt;why&lt;/b&gt;" in text


def test_the_last_sign_ins_are_shown_with_what_was_asserted(
    tenant: Tenant, page: Page, provider: IdentityProvider
) -> None:
    asserted = {"mail": ["ada@acme.com", "a@acme.com"], "<i>": ["<u>"]}
    trace(tenant, provider, state="done", email="ada@acme.com", subject="00u1", attributes=asserted)
    trace(tenant, provider, state="tested", subject="only-a-subject")
    trace(tenant, provider, state="answered", email="eve@acme.com")
    text = page(f"sso/providers/{provider.pk}/")
    for part in ("signed in", "ada@acme.com, a@acme.com", "00u1", "&lt;i&gt;", "&lt;u&gt;", "test came through"):
        assert part in text
    for part in ("only-a-subject", "the browser did not come back", "eve@acme.com"):
        assert part in text
    assert "Nobody has come yet." not in text


def test_only_the_last_sign_ins_are_shown_the_newest_first(
    tenant: Tenant, page: Page, provider: IdentityProvider
) -> None:
    for number in range(27):
        trace(tenant, provider, state="done", email=f"no-{number:02}@acme.com")
    text = page(f"sso/providers/{provider.pk}/")
    assert "no-16@" not in text
    assert text.index("no-26@") < text.index("no-17@")


def test_a_page_costs_the_same_however_many_came(
    tenant: Tenant, owner: Client, home: str, provider: IdentityProvider
) -> None:
    trace(tenant, provider, state="done", email="a@acme.com", user=tenant.owner)
    before = console.queries(owner, f"{home}sso/providers/{provider.pk}/")
    for _ in range(5):
        trace(tenant, provider, state="done", email="a@acme.com", user=add_member(tenant, Role.VIEWER))
        put_provider(tenant)
    assert console.queries(owner, f"{home}sso/providers/{provider.pk}/") == before


def test_admins_look_after_providers(tenant: Tenant, page: Page, post: Page, admin: Client) -> None:
    text = page(f"sso/providers/{put_provider(tenant).pk}/", browser=admin)
    for part in BUTTONS[1:]:
        assert part in text
    assert "is removed." in post(f"sso/providers/{only(tenant).pk}/remove/", browser=admin)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.BILLING])
def test_others_see_nothing_of_providers(
    tenant: Tenant, sign_in: console.SignIn, home: str, provider: IdentityProvider, role: Role
) -> None:
    browser = sign_in(add_member(tenant, role))
    for path in ("", "new/", f"{provider.pk}/", f"{provider.pk}/edit/", f"{provider.pk}/remove/"):
        assert browser.get(f"{home}sso/providers/{path}").status_code == 403
    for path in ("new/", f"{provider.pk}/edit/", f"{provider.pk}/switch/", f"{provider.pk}/remove/"):
        assert browser.post(f"{home}sso/providers/{path}", form(is_on="1")).status_code == 403
    assert only(tenant).state == "draft"


def test_another_organization_s_provider_is_not_there(
    tenant: Tenant, stranger: Tenant, owner: Client, home: str, sign_in: console.SignIn, provider: IdentityProvider
) -> None:
    theirs = put_provider(stranger)
    for path in ("", "edit/", "remove/"):
        assert owner.get(f"{home}sso/providers/{theirs.pk}/{path}").status_code == 404
        assert sign_in(stranger.owner).get(f"{home}sso/providers/{provider.pk}/{path}").status_code == 404
    for path in ("edit/", "switch/", "remove/"):
        assert owner.post(f"{home}sso/providers/{theirs.pk}/{path}", form(is_on="0")).status_code == 404
    assert (only(stranger).version, only(stranger).state, only(tenant).version) == (1, "draft", 1)


def test_a_closed_organization_leads_to_its_settings(
    tenant: Tenant, owner: Client, home: str, provider: IdentityProvider
) -> None:
    with scope(tenant.organization):
        Organization.objects.update(closed_at=timezone.now())
        VerifiedDomain.objects.all().delete()
    answer = owner.post(f"{home}sso/providers/{provider.pk}/remove/")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{home}settings/")
    assert only(tenant).pk == provider.pk
