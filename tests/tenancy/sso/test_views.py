"""A browser goes to the identity provider and comes back: in the same browser, once, and into one organization."""

import base64
import re
import zlib
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.usersessions.models import UserSession
from django.http import HttpResponse
from django.test import Client

from tenancy.models import Membership, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.providers import services
from tenancy.sso.saml import configuration
from tests.factories import Tenant, add_member, make_tenant, make_user
from tests.identity_provider import Said, SamlProvider


def sent_away(client: Client, row: IdentityProvider, **query: str) -> str:
    """Ask to sign in; the id of the request with which the browser is sent to the identity provider."""
    answer = client.get(f"/sso/saml/{row.pk}/login/", query)
    assert answer.status_code == 302, answer.content
    address = urlsplit(answer["Location"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == "https://idp.example.com/sso"
    asked = parse_qs(address.query)
    assert asked["SigAlg"] == ["http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"]
    assert asked["Signature"]
    request = ET.fromstring(zlib.decompress(base64.b64decode(asked["SAMLRequest"][0]), -15))  # noqa: S314  # ours
    assert request.get("AssertionConsumerServiceURL") == configuration.acs_url(row.pk)
    return request.attrib["ID"]


def post(row: IdentityProvider, answer: str) -> HttpResponse:
    """Post an answer as a form elsewhere does: with none of our cookies."""
    form = {"SAMLResponse": answer, "RelayState": "https://evil.com"}
    return cast("HttpResponse", Client().post(f"/sso/saml/{row.pk}/acs/", form))


def come_back(client: Client, row: IdentityProvider, idp: SamlProvider, said: Said) -> HttpResponse:
    """Bring the answer and go where it leads."""
    posted = post(row, idp.answer(said))
    assert posted.status_code == 303, posted.content
    return cast("HttpResponse", client.get(posted["Location"]))


def signed_in(client: Client, row: IdentityProvider, idp: SamlProvider, email: str, **query: str) -> HttpResponse:
    """The whole way."""
    said = idp.says(row, email, sent_away(client, row, **query))
    return come_back(client, row, idp, said)


def test_somebody_comes_in_and_sees_the_organization(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    client = Client()
    answer = signed_in(client, row, idp, f"ada@{domain}")
    assert (answer.status_code, answer["Location"]) == (302, "/")
    home = client.get("/", follow=True)
    assert home.redirect_chain[-1][0] == f"/o/{tenant.organization.slug}/"
    assert home.status_code == 200
    with scope(tenant.organization):
        user = Membership.objects.exclude(user=tenant.owner).get().user
        [trace] = SignIn.objects.all()
    assert (trace.state, trace.user) == ("done", user)
    assert UserSession.objects.filter(user=user).count() == 1  # so that all of them can be ended
    assert not [name for name in client.cookies if name.startswith("sso_") and client.cookies[name].value]


def test_it_goes_on_where_it_began_and_never_elsewhere(row: IdentityProvider, idp: SamlProvider, domain: str) -> None:
    assert signed_in(Client(), row, idp, f"ada@{domain}", next="/outbox/")["Location"] == "/outbox/"
    for evil in ("https://evil.com/", "//evil.com/", "javascript:alert(1)", "/\\evil.com"):
        assert signed_in(Client(), row, idp, f"ada@{domain}", next=evil)["Location"] == "/"


def test_an_answer_does_nothing_in_another_browser(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    mine, theirs = Client(), Client()
    said = idp.says(row, f"ada@{domain}", sent_away(mine, row))
    sent_away(theirs, row)
    answer = come_back(theirs, row, idp, said)
    assert answer.status_code == 403
    assert b"other_browser" in answer.content
    assert "capsule_session" not in theirs.cookies
    with scope(tenant.organization):
        assert SignIn.objects.get().code == "other_browser"
        assert Membership.objects.count() == 1


def test_a_forged_cookie_opens_nothing(row: IdentityProvider, idp: SamlProvider, domain: str) -> None:
    client = Client()
    request_id = "_00000000000000000000000000000000"
    client.cookies[f"sso_{request_id}"] = "forged"
    answer = come_back(client, row, idp, idp.says(row, f"ada@{domain}", request_id))
    assert (answer.status_code, b"other_browser" in answer.content) == (403, True)


def test_an_answer_counts_once(row: IdentityProvider, idp: SamlProvider, domain: str) -> None:
    client = Client()
    answer = idp.answer(idp.says(row, f"ada@{domain}", sent_away(client, row)))
    first = post(row, answer)
    assert post(row, answer).status_code == 403
    assert client.get(first["Location"]).status_code == 302
    assert client.get(first["Location"]).status_code == 403


def test_sign_in_may_begin_at_the_provider_where_that_is_allowed(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    said = idp.says(row, f"ada@{domain}", None)
    assert post(row, idp.answer(said)).status_code == 403
    with scope(tenant.organization):
        IdentityProvider.objects.filter(pk=row.pk).update(is_unsolicited_allowed=True, version=2)
    answer = idp.answer(said)
    browser = Client()
    posted: Any = browser.post(f"/sso/saml/{row.pk}/acs/", {"SAMLResponse": answer})
    assert posted.status_code == 303
    assert Client().get(posted["Location"]).status_code == 403  # who saw the address alone
    assert post(row, answer).status_code == 403
    again = idp.answer(idp.says(row, f"ada@{domain}", None))
    posted = browser.post(f"/sso/saml/{row.pk}/acs/", {"SAMLResponse": again})
    assert browser.get(posted["Location"])["Location"] == "/"


def test_a_refusal_says_why_and_what_helps(row: IdentityProvider, idp: SamlProvider) -> None:
    answer = signed_in(Client(), row, idp, "ada@elsewhere.com")
    assert answer.status_code == 403
    text = answer.content.decode()
    assert "in no domain that this organization has verified" in text
    assert "Verify the domain under Single sign-on" in text
    assert "no-store" in answer["Cache-Control"]


def test_a_session_by_one_organization_opens_no_other(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    other = make_tenant()
    client = Client()
    signed_in(client, row, idp, f"ada@{domain}")
    with scope(tenant.organization):
        user = Membership.objects.exclude(user=tenant.owner).get().user
    with scope(other.organization):
        Membership.objects.create(user=user, role=Role.OWNER)
    assert client.get(f"/o/{tenant.organization.slug}/").status_code == 200
    assert client.get(f"/o/{other.organization.slug}/").status_code == 404
    assert other.organization.name not in client.get(f"/o/{tenant.organization.slug}/").content.decode()
    own_way = Client()
    own_way.force_login(user)
    assert own_way.get(f"/o/{other.organization.slug}/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/account/", "/account/password/set/", "/account/email/", "/account/2fa/", "/account/2fa/webauthn/add/"),
        *("/account/sessions/", "/organizations/new/"),
    ],
)
def test_a_session_by_an_organization_leaves_the_account_alone(
    row: IdentityProvider, idp: SamlProvider, domain: str, path: str
) -> None:
    client = Client()
    signed_in(client, row, idp, f"ada@{domain}")
    answer = client.get(path)
    assert (answer.status_code, answer["Location"]) == (302, "/")
    answer = client.post(path, {"password1": "x", "password2": "x", "name": "x"})
    assert (answer.status_code, answer["Location"]) == (302, "/")


def test_a_session_by_an_organization_can_end_itself(row: IdentityProvider, idp: SamlProvider, domain: str) -> None:
    client = Client()
    signed_in(client, row, idp, f"ada@{domain}")
    client.post("/account/logout/")
    assert b"Sign in" in client.get("/").content


def test_who_must_show_again_who_they_are_is_sent_to_the_provider(
    row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    client = Client()
    signed_in(client, row, idp, f"ada@{domain}")
    answer = client.get("/account/reauthenticate/", {"next": "/outbox/"})
    address = f"/sso/saml/{row.pk}/login/?next=%2Foutbox%2F"
    assert f'href="{address}"' in answer.content.decode()
    away = client.get(address)
    assert away.status_code == 302
    request = zlib.decompress(base64.b64decode(parse_qs(urlsplit(away["Location"]).query)["SAMLRequest"][0]), -15)
    assert b'ForceAuthn="true"' in request


def test_whom_the_provider_asked_anew_may_do_what_needs_that(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    user = make_user("Bob")
    User.objects.filter(pk=user.pk).update(email=f"bob@{domain}")
    EmailAddress.objects.filter(user=user).update(email=f"bob@{domain}")
    with scope(tenant.organization):
        Membership.objects.create(user=user, role=Role.OWNER)
    client, path = Client(), f"/o/{tenant.organization.slug}/settings/close/"
    signed_in(client, row, idp, f"bob@{domain}")
    assert client.get(path)["Location"].startswith("/account/reauthenticate/")
    assert signed_in(client, row, idp, f"bob@{domain}", next=path)["Location"] == path
    assert client.get(path).status_code == 200


def test_who_has_nothing_but_the_provider_is_asked_anew_too(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    client, path = Client(), f"/o/{tenant.organization.slug}/settings/close/"
    signed_in(client, row, idp, f"ada@{domain}")
    with scope(tenant.organization):
        Membership.objects.update(role=Role.OWNER)
    assert client.get(path)["Location"].startswith("/account/reauthenticate/")
    assert signed_in(client, row, idp, f"ada@{domain}", next=path)["Location"] == path
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("ends", ["switched off", "removed"])
def test_a_session_ends_with_the_provider_that_opened_it(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str, ends: str
) -> None:
    client = Client()
    signed_in(client, row, idp, f"ada@{domain}")
    home = f"/o/{tenant.organization.slug}/"
    assert client.get(home).status_code == 200
    with scope(tenant.organization):
        if ends == "removed":
            services.remove(actor=tenant.actor, provider_id=row.pk)
        else:
            services.switch(actor=tenant.actor, provider_id=row.pk, is_on=False)
    assert client.get(home)["Location"].startswith("/account/login/")
    assert "_auth_user_id" not in client.session


def test_a_removed_member_without_another_organization_is_led_out(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    client = Client()
    signed_in(client, row, idp, f"ada@{domain}")
    with scope(tenant.organization):
        Membership.objects.exclude(user=tenant.owner).delete()
    assert client.get("/")["Location"] == "/account/logout/"


def test_a_second_factor_of_ones_own_is_still_asked_for(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    client = Client()
    signed_in(client, row, idp, f"ada@{domain}")
    with scope(tenant.organization):
        user = Membership.objects.exclude(user=tenant.owner).get().user
    TOTP.activate(user, generate_totp_secret())
    answer = signed_in(Client(), row, idp, f"ada@{domain}")
    assert answer["Location"].startswith("/account/2fa/authenticate/")


def test_an_admin_tries_a_provider_before_anybody_else_and_stays_who_they_are(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    with scope(tenant.organization):
        IdentityProvider.objects.update(state="draft")
    client = Client()
    client.force_login(tenant.owner)
    answer = signed_in(client, row, idp, f"somebody@{domain}", test="1")
    assert answer["Location"] == f"/o/{tenant.organization.slug}/sso/providers/{row.pk}/"
    assert client.get(answer["Location"]).status_code == 200
    assert client.session["_auth_user_id"] == str(tenant.owner.pk)
    with scope(tenant.organization):
        assert IdentityProvider.objects.get().tested_at
        assert SignIn.objects.get().state == "tested"
        assert Membership.objects.count() == 1


def test_nobody_but_an_admin_tries_a_provider(tenant: Tenant, stranger: Tenant, row: IdentityProvider) -> None:
    viewer = add_member(tenant, Role.VIEWER)
    for somebody in (viewer, stranger.owner, None):
        client = Client()
        if somebody is not None:
            client.force_login(somebody)
        assert client.get(f"/sso/saml/{row.pk}/login/", {"test": "1"}).status_code == 404


def test_a_provider_that_is_not_in_use_sends_nobody_away(tenant: Tenant, row: IdentityProvider) -> None:
    with scope(tenant.organization):
        IdentityProvider.objects.update(state="off")
    answer = Client().get(f"/sso/saml/{row.pk}/login/")
    assert (answer.status_code, b"not_in_use" in answer.content) == (403, True)


def test_our_metadata_says_what_the_provider_must_know(row: IdentityProvider) -> None:
    answer = Client().get(f"/sso/saml/{row.pk}/metadata/")
    assert answer["Content-Type"] == "application/samlmetadata+xml"
    text = answer.content.decode()
    assert f'entityID="{configuration.entity_id(row.pk)}"' in text
    assert f'Location="{configuration.acs_url(row.pk)}"' in text
    assert 'AuthnRequestsSigned="true"' in text
    bare = "".join(line for line in row.certificate.splitlines() if "CERTIFICATE" not in line)
    assert bare in re.sub(r"\s", "", text)
    assert "PRIVATE" not in text


@pytest.mark.parametrize("other", [{"audience": "https://other.example.com"}, {"subject": "<!-- -->"}])
def test_a_test_that_is_refused_ends_where_it_began_with_the_reason(
    other: dict[str, str], tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str
) -> None:
    client = Client()
    client.force_login(tenant.owner)
    asked = sent_away(client, row, test="1")
    answer = post(row, idp.answer(idp.says(row, f"ada@{domain}", asked).but(**other)))
    page = f"/o/{tenant.organization.slug}/sso/providers/{row.pk}/"
    code = "audience" if "audience" in other else "forbidden_content"
    assert (answer.status_code, answer["Location"]) == (303, f"{page}?refused={code}")
    assert post(row, idp.answer(idp.says(row, "x", "_another").but(**other))).status_code == 403


def test_a_machine_without_the_program_signs_people_in(
    row: IdentityProvider, idp: SamlProvider, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "PROGRAM", "no-such-program")
    assert signed_in(Client(), row, idp, f"ada@{domain}").status_code == 302
    assert Client().get(f"/sso/saml/{row.pk}/metadata/").status_code == 200


def test_without_its_program_single_sign_on_says_what_is_missing(
    row: IdentityProvider, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.SAML_CRYPTO = "xmlsec1"
    monkeypatch.setattr(configuration, "PROGRAM", "no-such-program")
    for answer in (
        Client().get(f"/sso/saml/{row.pk}/login/"),
        Client().get(f"/sso/saml/{row.pk}/metadata/"),
        post(row, SamlProvider(row.entity_id).answer(SamlProvider(row.entity_id).says(row, "ada@acme.com", "_1"))),
    ):
        assert (answer.status_code, answer["Retry-After"]) == (503, "300")
        assert b"no-such-program is not installed" in answer.content


def test_an_unknown_provider_is_not_there(row: IdentityProvider, stranger: Tenant) -> None:
    for way in ("login", "metadata"):
        assert Client().get(f"/sso/saml/{stranger.organization.pk}/{way}/").status_code == 404
    assert Client().post(f"/sso/saml/{stranger.organization.pk}/acs/").status_code == 404
    assert Client().get(f"/sso/saml/{row.pk}/done/{stranger.organization.pk}/").status_code == 403
