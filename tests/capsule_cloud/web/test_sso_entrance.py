"""Where single sign-on begins: an address leads to the identity provider of its domain, and says nothing else."""

from random import SystemRandom
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, VerifiedDomain
from tests.capsule_cloud.web.sso_things import put_provider
from tests.factories import Tenant
from tests.tenancy.sso.saml.conftest import own

UNKNOWN = "No organization has set up single sign-on for this domain."


@pytest.fixture
def provider(tenant: Tenant) -> IdentityProvider:
    """A provider in use."""
    return put_provider(tenant, state="active", tested_at=timezone.now())


@pytest.fixture
def domain(tenant: Tenant) -> str:
    """The tenant's domain."""
    return own(tenant)


@pytest.fixture
def browser(db: None) -> Client:
    """Somebody who is not signed in, at an address of their own: what is limited is limited by address."""
    return Client(REMOTE_ADDR=".".join(str(SystemRandom().randrange(1, 255)) for _ in range(4)))


def ask(browser: Client, email: str, query: str = "") -> Any:
    return browser.post(f"/sso/{query}", {"email": email})


def test_the_entrance_asks_for_an_address_and_is_found_from_the_sign_in_page(browser: Client) -> None:
    text = browser.get("/sso/").content.decode()
    assert 'name="email"' in text
    assert "Sign in with a password" in text
    assert 'href="/sso/' in browser.get("/account/login/").content.decode()


def test_the_entrance_may_lead_on_to_an_identity_provider_and_other_pages_may_not(browser: Client) -> None:
    assert "form-action 'self' https:" in browser.get("/sso/").headers["Content-Security-Policy"]
    assert "form-action 'self';" in f"{browser.get('/account/login/').headers['Content-Security-Policy']};"


@pytest.mark.parametrize("email", ["ada@{}", "  ada@{} ", "ADA@{}", "a+b@{}"])
def test_an_address_leads_to_the_provider_of_its_domain(
    browser: Client, provider: IdentityProvider, domain: str, email: str
) -> None:
    for name in (domain, domain.upper()):
        answer = ask(browser, email.format(name))
        assert answer.status_code == 302
        assert answer.headers["Location"] == f"/sso/saml/{provider.pk}/login/?next=%2F"


def test_where_to_go_afterwards_travels_along(browser: Client, provider: IdentityProvider, domain: str) -> None:
    answer = ask(browser, f"ada@{domain}", "?next=/o/acme/%3Fa%3D1%26b%3D2")
    assert answer.headers["Location"] == f"/sso/saml/{provider.pk}/login/?next=%2Fo%2Facme%2F%3Fa%3D1%26b%3D2"


def test_people_write_their_domain_as_they_read_it(browser: Client, tenant: Tenant, provider: IdentityProvider) -> None:
    name = own(tenant)
    with scope(tenant.organization):
        VerifiedDomain.objects.update(domain=f"xn--bcher-kva.{name}")
    assert ask(browser, f"ada@bücher.{name}").headers["Location"].startswith(f"/sso/saml/{provider.pk}/login/")


@pytest.mark.parametrize("email", ["ada@nobody.example.net", "ada@gmail.com", "ada@com.example", "ada@mail.{}"])
def test_an_unknown_domain_is_said_at_the_field(
    browser: Client, provider: IdentityProvider, domain: str, email: str
) -> None:
    answer = ask(browser, email.format(domain))
    assert answer.status_code == 422
    assert UNKNOWN in answer.content.decode()
    assert 'id="id_email_error"' in answer.content.decode()


@pytest.mark.parametrize("email", ["", "ada", "@acme.com", "ada@", "a@b@c", "<script>@x", "ada@" + "x" * 300 + ".com"])
def test_what_is_no_address_is_said_at_the_field(browser: Client, email: str) -> None:
    answer = browser.post("/sso/", {"email": email, "more": "x"})
    assert answer.status_code == 422
    assert UNKNOWN not in answer.content.decode()
    assert "<script>@x" not in answer.content.decode()


@pytest.mark.parametrize("state", ["draft", "off"])
def test_a_provider_that_is_not_in_use_is_not_told(
    browser: Client, tenant: Tenant, provider: IdentityProvider, domain: str, state: str
) -> None:
    with scope(tenant.organization):
        IdentityProvider.objects.update(state=state)
    assert UNKNOWN in ask(browser, f"ada@{domain}").content.decode()


def test_an_unproved_domain_leads_nowhere_and_a_lost_one_locks_nobody_out(
    browser: Client, tenant: Tenant, provider: IdentityProvider, domain: str
) -> None:
    for state, status in (("pending", 422), ("lost", 302)):
        with scope(tenant.organization):
            VerifiedDomain.objects.update(state=state)
        assert ask(browser, f"ada@{domain}").status_code == status


def test_a_closed_organization_is_not_told(
    browser: Client, tenant: Tenant, provider: IdentityProvider, domain: str
) -> None:
    with scope(tenant.organization):
        Organization.objects.update(closed_at=timezone.now())
    assert UNKNOWN in ask(browser, f"ada@{domain}").content.decode()


def test_nobody_tries_domains_by_the_hundred(
    browser: Client, provider: IdentityProvider, domain: str, settings: Any
) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"login": "3/m/ip"}
    assert [ask(browser, "ada@nobody.example.net").status_code for _ in range(4)] == [422, 422, 422, 429]
    assert ask(browser, f"ada@{domain}").status_code == 429
    assert browser.get("/sso/").status_code == 200
