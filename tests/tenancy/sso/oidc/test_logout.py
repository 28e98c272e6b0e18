"""A logout token ends the sessions that it names, once, and nothing else (OpenID Connect Back-Channel Logout 1.0)."""

import time
from typing import Any

import pytest
from django.test import Client

from tenancy.audit import actions
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider
from tenancy.sso.oidc import tokens
from tests.factories import Tenant
from tests.tenancy.sso.oidc.conftest import connect, signed_in, trace
from tests.tenancy.sso.oidc.issuer import Issuer, rsa_key, unsigned
from tests.trail import audited


@pytest.fixture
def browser(row: IdentityProvider, issuer: Issuer) -> Client:
    """Somebody's, signed in by the session s1."""
    client = Client()
    issuer.says["sid"] = "s1"
    signed_in(client, row, issuer)
    return client


def say(row: IdentityProvider, token: str) -> Any:
    """What is answered to a logout token."""
    answer = Client(enforce_csrf_checks=True).post(
        f"/sso/oidc/{row.pk}/backchannel-logout/", {"logout_token": token}, secure=False
    )
    assert answer["Cache-Control"] == "no-store"
    return answer


def is_in(tenant: Tenant, client: Client) -> bool:
    """Whether the browser sees the organization."""
    return client.get(f"/o/{tenant.organization.slug}/").status_code == 200


def test_it_ends_every_session_of_a_subject_and_is_in_the_trail(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, browser: Client
) -> None:
    phone, own = Client(), Client()
    issuer.says["sid"] = "s2"
    signed_in(phone, row, issuer)
    user = trace(tenant).user
    assert user is not None
    own.force_login(user)
    assert say(row, issuer.logout_token()).status_code == 200
    assert not is_in(tenant, browser)
    assert not is_in(tenant, phone)
    assert is_in(tenant, own)  # which no provider opened
    with scope(tenant.organization):
        [told] = audited(actions.SESSIONS_ENDED.name)
    assert (told.metadata, told.target["id"], told.actor["id"]) == ({"sessions": 2}, str(user.pk), str(user.pk))
    assert (trace(tenant).state, trace(tenant).user) == ("ended", user)


@pytest.mark.parametrize("names", [{"sid": "s1"}, {"sid": "s1", "sub": None}])
def test_it_ends_one_session_by_its_name(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, browser: Client, names: dict[str, Any]
) -> None:
    phone = Client()
    issuer.says["sid"] = "s2"
    signed_in(phone, row, issuer)
    assert say(row, issuer.logout_token(**names)).status_code == 200
    assert (is_in(tenant, browser), is_in(tenant, phone)) == (False, True)


def test_it_ends_nothing_of_another_subject_session_or_provider(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, browser: Client
) -> None:
    other = connect(tenant, issuer)
    issuer.says |= {"sub": "bob", "email": issuer.person["email"].replace("ada", "bob")}
    issuer.userinfo |= {"sub": "bob"}
    bobs = Client()
    signed_in(bobs, other, issuer)
    assert say(row, issuer.logout_token(sub="bob")).status_code == 200  # whom this provider does not know
    assert say(row, issuer.logout_token(sid="s9")).status_code == 200
    assert say(other, issuer.logout_token(sub=issuer.person["sub"])).status_code == 200
    assert (is_in(tenant, browser), is_in(tenant, bobs)) == (True, True)
    with scope(tenant.organization):
        assert not audited(actions.SESSIONS_ENDED.name)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a nonce": ({"nonce": "x"}, "logout_token"),
    "other events": ({"events": {"http://schemas.openid.net/event/other": {}}}, "logout_token"),
    "events that are a list": ({"events": [tokens.LOGOUT_EVENT]}, "logout_token"),
    "no events": ({"events": None}, "token_malformed"),
    "an event that is no object": ({"events": {tokens.LOGOUT_EVENT: "x"}}, "logout_token"),
    "nobody": ({"sub": None}, "logout_token"),
    "a session that is a number": ({"sub": None, "sid": 7}, "logout_token"),
    "no jti": ({"jti": None}, "token_malformed"),
    "another issuer": ({"iss": "https://evil.com"}, "token_issuer"),
    "another audience": ({"aud": "somebody-else"}, "token_audience"),
    "a moment that is no number": ({"iat": "1"}, "token_malformed"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_token_ends_nothing_and_is_told(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, browser: Client, name: str
) -> None:
    claims, code = WRONG[name]
    refused(tenant, row, issuer.logout_token(**claims), browser, code)


@pytest.mark.parametrize("name", ["old", "over", "from the future", "unsigned", "by another", "an ID token", "nothing"])
def test_a_token_that_is_none_ends_nothing_and_is_told(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, browser: Client, name: str
) -> None:
    now = int(time.time())
    own_key, issuer.key = issuer.key, rsa_key("other")
    by_another, issuer.key = issuer.logout_token(), own_key
    token, code = {
        "old": (issuer.logout_token(iat=now - 400, exp=None), "token_expired"),
        "over": (issuer.logout_token(exp=now - 90), "token_expired"),
        "from the future": (issuer.logout_token(iat=now + 120), "token_expired"),
        "unsigned": (unsigned({"sub": issuer.person["sub"]}), "token_algorithm"),
        "by another": (by_another, "token_signature"),
        "an ID token": (issuer.signed(issuer.claims("n")), "token_malformed"),
        "nothing": ("", "token_malformed"),
    }[name]
    refused(tenant, row, token, browser, code)


def test_a_token_counts_once(tenant: Tenant, row: IdentityProvider, issuer: Issuer, browser: Client) -> None:
    token = issuer.logout_token()
    assert say(row, token).status_code == 200
    signed_in(browser, row, issuer)
    refused(tenant, row, token, browser, "replayed")


def test_what_is_no_logout_is_not_answered(row: IdentityProvider, stranger: Tenant) -> None:
    assert Client().get(f"/sso/oidc/{row.pk}/backchannel-logout/").status_code == 405
    assert Client().post(f"/sso/oidc/{stranger.organization.pk}/backchannel-logout/").status_code == 404


def refused(tenant: Tenant, row: IdentityProvider, token: str, browser: Client, code: str) -> None:
    """The specification's error; trace and trail say why, and the session goes on."""
    answer = say(row, token)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert is_in(tenant, browser)
    assert trace(tenant).code == code
    with scope(tenant.organization):
        assert audited(actions.LOGOUT_REFUSED.name)[-1].metadata == {"code": code}
