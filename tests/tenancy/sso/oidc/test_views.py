"""A browser goes to an OpenID provider and comes back: in the same browser, once, and into one organization."""

import time
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.test import Client
from django.utils import timezone

from tenancy.audit import actions
from tenancy.models import Membership, Organization, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import ExternalIdentity, IdentityProvider
from tenancy.sso.oidc import addresses, relying_party
from tests.factories import Tenant, add_member, make_tenant, make_user
from tests.tenancy.sso.oidc.conftest import come_back, connect, sent_away, signed_in, trace
from tests.tenancy.sso.oidc.issuer import SECRET, Issuer
from tests.trail import audited


def test_somebody_comes_in_and_sees_the_organization_alone(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    client = Client()
    asked = sent_away(client, row)
    assert asked["redirect_uri"] == addresses.redirect_uri(row.pk)
    assert (asked["response_type"], asked["client_id"]) == ("code", "capsule")
    assert set(asked["scope"].split()) == {"openid", "email", "profile"}
    answer = come_back(client, row, issuer, asked)
    assert (answer.status_code, answer["Location"]) == (302, "/")
    home = client.get("/", follow=True)
    assert home.redirect_chain[-1][0] == f"/o/{tenant.organization.slug}/"
    with scope(tenant.organization):
        user = Membership.objects.exclude(user=tenant.owner).get(role=Role.VIEWER).user
        [linked] = audited(actions.IDENTITY_LINKED.name)
    assert linked.metadata == {"is_new_account": True}
    kept = trace(tenant)
    assert (kept.state, kept.user, kept.email, user.name) == ("done", user, issuer.person["email"], "Ada")
    assert kept.attributes == {"email": [user.email], "name": ["Ada"], "email_verified": ["true"]}
    assert UserSession.objects.filter(user=user).count() == 1  # so that all of them can be ended
    assert not [name for name in client.cookies if name.startswith("sso_") and client.cookies[name].value]
    [how] = client.session["account_authentication_methods"]
    assert (how["method"], how["provider"]) == ("oidc", str(row.pk))
    other = make_tenant()
    with scope(other.organization):
        Membership.objects.create(user=user, role=Role.OWNER)
    assert client.get(f"/o/{other.organization.slug}/").status_code == 404


@pytest.mark.parametrize("method", IdentityProvider.TokenAuth.values)
def test_the_secret_is_shown_as_the_provider_wants_it(tenant: Tenant, issuer: Issuer, domain: str, method: str) -> None:
    row = connect(tenant, issuer, method)
    assert signed_in(Client(), row, issuer).status_code == 302
    [form] = issuer.forms
    assert form.get("client_secret") == (SECRET if method == "client_secret_post" else None)
    assert ("client_id" in form) == (method != "client_secret_basic")


def test_a_person_is_known_by_the_subject_whatever_the_address(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    signed_in(Client(), row, issuer)
    first = trace(tenant).user
    issuer.person |= {"email": "renamed@elsewhere.com"}
    signed_in(Client(), row, issuer)
    assert trace(tenant).user == first
    with scope(tenant.organization):
        ExternalIdentity.objects.get(provider=row, subject=issuer.person["sub"], user=first)


def test_an_account_that_nobody_confirmed_loses_its_password_to_its_owner(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    squatter = make_user()
    User.objects.filter(pk=squatter.pk).update(email=issuer.person["email"])
    EmailAddress.objects.filter(user=squatter).update(email=issuer.person["email"], verified=False)
    signed_in(Client(), row, issuer)
    assert trace(tenant).user == squatter
    assert not User.objects.get(pk=squatter.pk).has_usable_password()


def test_staff_and_closed_organizations_let_nobody_in(tenant: Tenant, row: IdentityProvider, issuer: Issuer) -> None:
    staff = make_user()
    User.objects.filter(pk=staff.pk).update(email=issuer.person["email"], is_staff=True)
    assert b"<code>staff_account</code>" in signed_in(Client(), row, issuer).content
    with scope(tenant.organization):
        Organization.objects.update(closed_at="2026-01-01T00:00:00Z")
    assert b"<code>closed</code>" in signed_in(Client(), row, issuer).content


def test_a_provider_that_is_switched_off_meanwhile_lets_nobody_in(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    client = Client()
    asked = sent_away(client, row)
    with scope(tenant.organization):
        IdentityProvider.objects.update(state="off")
    assert b"<code>not_in_use</code>" in come_back(client, row, issuer, asked).content
    assert not issuer.forms
    answer = client.get(f"/sso/oidc/{row.pk}/login/")
    assert (answer.status_code, b"not_in_use" in answer.content) == (403, True)


def test_what_the_token_lacks_is_asked_for_at_userinfo(tenant: Tenant, row: IdentityProvider, issuer: Issuer) -> None:
    issuer.says |= {"email": None, "name": None, "email_verified": None}
    issuer.userinfo |= {"groups": ["eng", 7, {"no": "text"}], "address": {"country": "NZ"}, "email_verified": "true"}
    assert signed_in(Client(), row, issuer).status_code == 302
    kept = trace(tenant)
    assert kept.email == issuer.person["email"]
    assert (kept.attributes["groups"], "address" in kept.attributes) == (["eng", "7"], False)


def test_what_userinfo_says_of_another_address_does_not_count(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, domain: str
) -> None:
    issuer.says |= {"email": f"boss@{domain}", "email_verified": None}
    issuer.userinfo |= {"email": f"ada@{domain}", "email_verified": False}
    assert signed_in(Client(), row, issuer).status_code == 302  # the token's address, of which it says nothing
    assert trace(tenant).email == f"boss@{domain}"


def test_a_token_without_an_end_worth_the_name_is_good_for_minutes(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    issuer.says["exp"] = 10**400
    assert signed_in(Client(), row, issuer).status_code == 302
    assert trace(tenant).expires_at < timezone.now() + timedelta(minutes=11)


def test_a_provider_without_userinfo_or_an_own_claim_for_addresses_will_do(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, domain: str
) -> None:
    del issuer.document["userinfo_endpoint"]
    issuer.document["authorization_endpoint"] += "?policy=b2c"
    issuer.says |= {"email": None, "email_verified": None, "preferred_username": f"Ada@{domain}"}
    with scope(tenant.organization):
        IdentityProvider.objects.update(email_attribute="preferred_username")
    client = Client()
    asked = sent_away(client, row)
    assert asked["policy"] == "b2c"
    assert come_back(client, row, issuer, asked).status_code == 302
    assert trace(tenant).email == f"ada@{domain}"


def test_an_admin_tries_a_provider_before_anybody_else_and_stays_who_they_are(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    with scope(tenant.organization):
        IdentityProvider.objects.update(state="draft")
    client = Client()
    client.force_login(tenant.owner)
    answer = signed_in(client, row, issuer, test="1")
    assert answer["Location"] == f"/o/{tenant.organization.slug}/sso/providers/{row.pk}/"
    assert client.session["_auth_user_id"] == str(tenant.owner.pk)
    with scope(tenant.organization):
        assert IdentityProvider.objects.get().tested_at
        assert Membership.objects.count() == 1
    assert trace(tenant).state == "tested"
    asked = sent_away(client, row, test="1")
    del client.cookies["capsule_session"]
    assert come_back(client, row, issuer, asked).status_code == 404


def test_nobody_but_an_admin_tries_a_provider(tenant: Tenant, stranger: Tenant, row: IdentityProvider) -> None:
    for somebody in (add_member(tenant, Role.VIEWER), stranger.owner, None):
        client = Client()
        if somebody is not None:
            client.force_login(somebody)
        assert client.get(f"/sso/oidc/{row.pk}/login/", {"test": "1"}).status_code == 404


def test_whom_the_provider_asked_anew_may_do_what_needs_that(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    client, path = Client(), f"/o/{tenant.organization.slug}/settings/close/"
    signed_in(client, row, issuer)
    with scope(tenant.organization):
        Membership.objects.update(role=Role.OWNER)
    assert client.get(path)["Location"].startswith("/account/reauthenticate/")
    offer = client.get("/account/reauthenticate/", {"next": path}).content.decode()
    assert f'href="/sso/oidc/{row.pk}/login/?next=' in offer
    asked = sent_away(client, row, next=path)
    assert asked["prompt"] == "login"
    issuer.says["auth_time"] = int(time.time()) - 3600  # it showed the old session instead
    assert b"<code>not_asked_again</code>" in come_back(client, row, issuer, asked).content
    issuer.says["auth_time"] = int(time.time())
    assert signed_in(client, row, issuer, next=path)["Location"] == path
    assert client.get(path).status_code == 200


def test_google_can_only_have_people_choose_their_account(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relying_party, "PROMPTS", {issuer.url: relying_party.PROMPTS["https://accounts.google.com"]})
    client = Client()
    signed_in(client, row, issuer)
    assert sent_away(client, row)["prompt"] == "select_account"


def test_where_it_is_required_a_password_leads_to_the_provider(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    with scope(tenant.organization):
        Organization.objects.update(is_sso_required=True)
    client = Client()
    client.force_login(add_member(tenant, Role.MEMBER))
    home = f"/o/{tenant.organization.slug}/"
    address = client.get(home)["Location"]
    assert address.startswith(f"/sso/oidc/{row.pk}/login/?ask=1")
    offered = client.get(address)
    assert (offered.status_code, "Single sign-on is required" in offered.content.decode()) == (200, True)


def test_an_address_of_one_protocol_is_not_there_for_a_provider_of_the_other(row: IdentityProvider) -> None:
    client = Client()
    assert client.get(f"/sso/saml/{row.pk}/login/").status_code == 404
    assert client.get(f"/sso/saml/{row.pk}/metadata/").status_code == 404
    assert client.post(f"/sso/saml/{row.pk}/acs/", {"SAMLResponse": "x"}).status_code == 404


def test_a_session_ends_with_the_provider_that_opened_it(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, settings: Any
) -> None:
    client, home = Client(), f"/o/{tenant.organization.slug}/"
    signed_in(client, row, issuer)
    assert client.get(home).status_code == 200
    with scope(tenant.organization):
        IdentityProvider.objects.update(state="off")
    assert client.get(home)["Location"].startswith("/account/login/")
