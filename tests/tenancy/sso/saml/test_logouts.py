"""A logout counts when it is signed, fresh, for us, used once, and about whoever brings it; sessions end with it."""

import re
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from django.core import signing
from django.http import HttpResponse
from django.test import Client

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.saml import bindings, configuration, leaving, logouts, metadata
from tests.factories import Tenant
from tests.identity_provider import NAMESPACES, RSA_SHA1, SamlProvider, at, new_id, posted
from tests.tenancy.sso.saml.conftest import connect
from tests.tenancy.sso.test_views import signed_in

THERE = "https://idp.example.com/slo"
REQUEST = "urn:oasis:names:tc:SAML:2.0:protocol:LogoutRequest"
Row = IdentityProvider


@pytest.fixture
def row(tenant: Tenant, idp: SamlProvider) -> Row:
    """The provider's row; it takes logouts."""
    return connect(tenant, idp, metadata=idp.metadata(logout=THERE))


@pytest.fixture
def client(row: Row, idp: SamlProvider, domain: str) -> Client:
    """A browser in which Ada is signed in."""
    browser = Client()
    signed_in(browser, row, idp, f"ada@{domain}")
    assert is_in(browser)
    return browser


def is_in(browser: Client) -> bool:
    """Whether somebody is signed in."""
    return "_auth_user_id" in browser.session


def session_of(browser: Client) -> str:
    """What the provider calls its session."""
    return cast("str", browser.session["sso"]["session"])


def by_address(browser: Client, row: Row, query: str) -> HttpResponse:
    """Follow an address of the identity provider's."""
    return cast("HttpResponse", browser.get(f"/sso/saml/{row.pk}/logout/?{query}"))


def by_form(row: Row, xml: str) -> HttpResponse:
    """Post a form of the identity provider's, which brings no cookie."""
    return cast("HttpResponse", Client().post(f"/sso/saml/{row.pk}/logout/post/", {"SAMLRequest": posted(xml)}))


def status_in(response: HttpResponse, row: Row) -> str:
    """What we answer to the identity provider, signed by us."""
    address = urlsplit(response["Location"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == THERE
    found = parse_qs(address.query)
    own = IdentityProvider(metadata=_as_metadata(row.certificate))
    xml = bindings.message(address.query, "SAMLResponse", metadata.keys(own.metadata)).decode()
    assert found["SigAlg"] == ["http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"]
    return ",".join(one.rpartition(":")[2] for one in re.findall(r'StatusCode Value="([^"]+)', xml))


def _as_metadata(certificate: str) -> str:
    stand_in = SamlProvider()
    stand_in.certificate = certificate
    return stand_in.metadata()


def test_a_signed_logout_ends_the_session_that_it_names_and_is_answered(
    tenant: Tenant, client: Client, row: Row, idp: SamlProvider, domain: str
) -> None:
    asked = idp.query(idp.logout(row, f"ada@{domain}", session_of(client)), state="back")
    response = by_address(client, row, asked)
    assert (response.status_code, status_in(response, row)) == (302, "Success")
    assert parse_qs(urlsplit(response["Location"]).query)["RelayState"] == ["back"]
    assert not is_in(client)
    with scope(tenant.organization):
        kept = SignIn.objects.filter(state="ended").get()
        assert (kept.subject, kept.user and kept.user.email) == (f"ada@{domain}", f"ada@{domain}")
        [told] = AuditEvent.objects.filter(action=actions.SESSIONS_ENDED.name)
        assert told.metadata == {"sessions": 1}


def test_a_logout_in_a_form_ends_every_session_of_its_subject_and_nobody_else_s(
    client: Client, row: Row, idp: SamlProvider, domain: str
) -> None:
    second, other = Client(), Client()
    signed_in(second, row, idp, f"ada@{domain}")
    signed_in(other, row, idp, f"bob@{domain}")
    request_id = new_id()
    to = configuration.logout_post_url(row.pk)
    xml = idp.signed(idp.logout(row, f"ada@{domain}", ID=request_id, Destination=to), request_id, REQUEST)
    assert status_in(by_form(row, xml), row) == "Success"
    assert (is_in(client), is_in(second), is_in(other)) == (False, False, True)
    assert by_form(row, xml).status_code == 403  # once more


def test_a_logout_of_another_session_leaves_this_one(client: Client, row: Row, idp: SamlProvider, domain: str) -> None:
    response = by_address(client, row, idp.query(idp.logout(row, f"ada@{domain}", "_another")))
    assert status_in(response, row) == "Success"
    assert is_in(client)


def test_whoever_has_never_come_is_unknown(tenant: Tenant, row: Row, idp: SamlProvider, domain: str) -> None:
    response = by_address(Client(), row, idp.query(idp.logout(row, f"eve@{domain}")))
    assert status_in(response, row) == "Responder,UnknownPrincipal"
    with scope(tenant.organization):
        assert SignIn.objects.get().code == "unknown_subject"


def address(**other: str | None) -> Callable[[SamlProvider, Row, str], str]:
    """A signed address whose request says something wrong."""
    return lambda idp, row, subject: idp.query(idp.logout(row, subject, **other))


def without(field: str) -> Callable[[SamlProvider, Row, str], str]:
    """A signed address that lacks a part."""
    return lambda idp, row, subject: re.sub(rf"&{field}=[^&]*", "", idp.query(idp.logout(row, subject)))


REFUSED: dict[str, tuple[Callable[[SamlProvider, Row, str], str], str]] = {
    "unsigned": (without("Signature"), "signature"),
    "no algorithm": (without("SigAlg"), "weak_algorithm"),
    "another state": (
        lambda idp, row, who: idp.query(idp.logout(row, who), state="a").replace("=a&", "=b&"),
        "signature",
    ),
    "two states": (lambda idp, row, who: idp.query(idp.logout(row, who), state="a") + "&RelayState=b", "malformed"),
    "SHA-1": (lambda idp, row, who: idp.query(idp.logout(row, who), algorithm=RSA_SHA1), "weak_algorithm"),
    "another key": (lambda idp, row, who: SamlProvider(idp.entity_id).query(idp.logout(row, who)), "signature"),
    "somebody else": (lambda idp, row, who: idp.query(idp.logout(row, f"boss-{who}")), "other_subject"),
    "another issuer": (address(Issuer="https://evil.example.com"), "issuer"),
    "no issuer": (address(Issuer=None), "issuer"),
    "another destination": (address(Destination="https://evil.example.com"), "recipient"),
    "no destination": (address(Destination=None), "recipient"),
    "too old": (lambda idp, row, who: idp.query(idp.logout(row, who, IssueInstant=at(-3600))), "expired"),
    "of the future": (lambda idp, row, who: idp.query(idp.logout(row, who, IssueInstant=at(3600))), "expired"),
    "ended": (lambda idp, row, who: idp.query(idp.logout(row, who, NotOnOrAfter=at(-90))), "expired"),
    "no time": (address(IssueInstant="then"), "malformed"),
    "no id": (address(ID=None), "malformed"),
    "another version": (address(Version="1.1"), "malformed"),
    "nobody": (lambda idp, row, who: idp.query(idp.logout(row, "")), "no_subject"),
    "an empty session": (lambda idp, row, who: idp.query(idp.logout(row, who, "")), "malformed"),
    "another message": (
        lambda idp, row, who: idp.query(f'<samlp:AuthnRequest {NAMESPACES} Version="2.0"/>'),
        "malformed",
    ),
    "a comment": (
        lambda idp, row, who: idp.query(idp.logout(row, who).replace("</saml:NameID>", "<!-- -->x</saml:NameID>")),
        "forbidden_content",
    ),
    "a bomb": (lambda idp, row, who: idp.query(" " * 10_000_000), "malformed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_logout_that_is_not_to_be_believed_ends_nothing_and_is_told(
    name: str, tenant: Tenant, client: Client, row: Row, idp: SamlProvider, domain: str
) -> None:
    make, code = REFUSED[name]
    response = by_address(client, row, make(idp, row, f"ada@{domain}"))
    assert response.status_code == 403
    assert is_in(client)
    with scope(tenant.organization):
        [trace] = SignIn.objects.filter(state="refused")
        [told] = AuditEvent.objects.filter(action=actions.LOGOUT_REFUSED.name)
    assert (trace.code, told.metadata) == (code, {"code": code})


def test_a_form_without_a_good_signature_ends_nothing(client: Client, row: Row, idp: SamlProvider, domain: str) -> None:
    to = configuration.logout_post_url(row.pk)
    bare = idp.logout(row, f"ada@{domain}", ID="_1", Destination=to)
    strangers = SamlProvider(idp.entity_id).signed(bare, "_1", REQUEST)
    wrapped = idp.signed(bare, "_1", REQUEST).replace('ID="_1"', 'ID="_2"', 1)
    for xml in (bare, strangers, wrapped):
        assert by_form(row, xml).status_code == 403
    assert Client().post(f"/sso/saml/{row.pk}/logout/post/", {"SAMLRequest": "%"}).status_code == 403
    assert Client().post(f"/sso/saml/{row.pk}/logout/post/", {"SAMLRequest": "A" * 400_000}).status_code == 403
    assert is_in(client)


def test_a_logout_is_used_once(row: Row, client: Client, idp: SamlProvider, domain: str) -> None:
    asked = idp.query(idp.logout(row, f"ada@{domain}"))
    assert by_address(Client(), row, asked).status_code == 302
    signed_in(client, row, idp, f"ada@{domain}")
    again = by_address(client, row, asked)
    assert (again.status_code, b"replayed" in again.content) == (403, True)
    assert is_in(client)


def sent_on(client: Client, row: Row) -> tuple[str, str]:
    """Sign out here; the id and the subject of the request with which the browser goes on."""
    answer = client.post("/account/logout/")
    assert answer["Location"].startswith(f"/sso/saml/{row.pk}/logout/leave/?to=")
    page = client.get(answer["Location"])
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page.content.decode())
    assert found
    address = urlsplit(found[1].replace("&amp;", "&"))
    assert f"{address.scheme}://{address.netloc}{address.path}" == THERE
    xml = bindings.message(address.query, "SAMLRequest", metadata.keys(_as_metadata(row.certificate))).decode()
    request, subject = re.search(r' ID="([^"]+)"', xml), re.search(r"NameID[^>]*>([^<]+)<", xml)
    assert request
    assert subject
    assert 'Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"' in xml
    return request[1], subject[1]


@pytest.mark.parametrize(
    ("status", "says"), [(logouts.SUCCESS, b"Here, and at Okta"), (logouts.RESPONDER, b"has not confirmed")]
)
def test_whoever_signs_out_here_goes_on_and_is_told_what_came_of_it(
    status: str, says: bytes, client: Client, row: Row, idp: SamlProvider, domain: str
) -> None:
    session = session_of(client)
    request_id, subject = sent_on(client, row)
    assert session
    assert subject == f"ada@{domain}"
    assert not is_in(client)
    end = by_address(client, row, idp.query(idp.logout_answer(row, request_id, status), "SAMLResponse"))
    assert (end.status_code, says in end.content) == (200, True)


def test_an_answer_that_nobody_waits_for_confirms_nothing(client: Client, row: Row, idp: SamlProvider) -> None:
    request_id, _ = sent_on(client, row)
    good = idp.query(idp.logout_answer(row, request_id), "SAMLResponse")
    another = idp.query(idp.logout_answer(row, "_another"), "SAMLResponse")
    strangers = SamlProvider(idp.entity_id).query(idp.logout_answer(row, request_id), "SAMLResponse")
    for answer in (another, strangers):
        assert b"has not confirmed" in by_address(client, row, answer).content
    assert b"Here, and at" in by_address(client, row, good).content
    assert b"has not confirmed" in by_address(client, row, good).content  # once


def test_a_provider_without_logouts_is_not_asked(tenant: Tenant, idp: SamlProvider, domain: str) -> None:
    row, browser = connect(tenant, idp), Client()
    signed_in(browser, row, idp, f"ada@{domain}")
    response = by_address(Client(), row, idp.query(idp.logout(row, f"ada@{domain}")))
    assert (response.status_code, b"You are signed out" in response.content) == (200, True)
    assert not is_in(browser)
    signed_in(browser, row, idp, f"ada@{domain}")
    assert browser.post("/account/logout/")["Location"] == "/"


def test_a_page_that_leads_on_is_made_by_us_alone(client: Client, row: Row) -> None:
    assert client.get(f"/sso/saml/{row.pk}/logout/leave/?to=x").status_code == 404
    other = signing.dumps({"id": "_1", "url": "https://evil.example.com", "provider": str(uuid4())}, salt=leaving.SALT)
    assert client.get(f"/sso/saml/{row.pk}/logout/leave/", {"to": other}).status_code == 404
    assert client.get(f"/sso/saml/{row.pk}/logout/").status_code == 404


def test_without_its_program_nobody_is_led_on_and_a_logout_says_what_is_missing(
    client: Client, row: Row, idp: SamlProvider, domain: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SAML_CRYPTO = "xmlsec1"
    monkeypatch.setattr(configuration, "PROGRAM", "no-such-program")
    asked = idp.query(idp.logout(row, f"ada@{domain}", "_another"))
    assert by_address(client, row, asked).status_code == 503
    assert client.post("/account/logout/")["Location"] == "/"


def test_our_metadata_says_where_logouts_go(row: Row) -> None:
    said: Any = Client().get(f"/sso/saml/{row.pk}/metadata/").content.decode()
    assert configuration.logout_url(row.pk) in said
    assert configuration.logout_post_url(row.pk) in said
