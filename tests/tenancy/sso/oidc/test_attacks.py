"""Every known way to be somebody else by OpenID Connect is refused, signs nobody in, and is in trace and trail."""

import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client
from django.utils import timezone

from capsule_cloud.lib import http
from tenancy.audit import actions
from tenancy.models import Membership
from tenancy.scope import scope
from tenancy.sso.models import ExternalIdentity, IdentityProvider
from tenancy.sso.oidc import discovery, outgoing
from tests.factories import Tenant
from tests.tenancy.sso.oidc.conftest import Doors, come_back, connect, sent_away, signed_in, trace
from tests.tenancy.sso.oidc.issuer import SECRET, Issuer, json_answer, jwk, rsa_key, unsigned
from tests.trail import audited

Attack = Callable[[Issuer], Any]


def says(**claims: Any) -> Attack:
    """The issuer says this."""
    return lambda issuer: issuer.says.update(claims)


def later(seconds: int, *names: str) -> Attack:
    """These moments are so many seconds from now."""
    return lambda issuer: issuer.says.update({name: int(time.time()) + seconds for name in names})


def signs(sign: Callable[[Issuer, Any], str]) -> Attack:
    """The issuer's token is made like this."""
    return lambda issuer: setattr(issuer, "sign", lambda claims: sign(issuer, claims))


def hmac_by(secret: Callable[[Issuer], bytes]) -> Attack:
    """A token that a secret signs, which others know too."""

    def sign(issuer: Issuer, claims: Any) -> str:
        parts = jwt.encode(claims, "x" * 64, "HS256", headers={"kid": "k1"}).split(".")
        algorithm: Any = jwt.get_algorithm_by_name("HS256")
        signature = algorithm.sign(".".join(parts[:2]).encode(), secret(issuer))
        return ".".join([*parts[:2], jwt.utils.base64url_encode(signature).decode()])

    return signs(sign)


def public_pem(issuer: Issuer) -> bytes:
    return bytes(
        issuer.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def small_key(issuer: Issuer) -> None:
    """One that PyJWT itself warns of."""

    def sign(claims: Any) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return issuer.signed(claims)

    issuer.key, issuer.sign = rsa_key("small", 1024), sign
    issuer.keys = [jwk(issuer.key, "k1")]


def answers(path: str, said: Any, status: int = 200, **headers: str) -> Attack:
    return lambda issuer: issuer.answers.update({path: lambda: json_answer(said, status, **headers)})


ATTACKS: dict[str, tuple[Attack, str]] = {
    "nothing signs it": (signs(lambda issuer, claims: unsigned(claims)), "token_algorithm"),
    "HS256 by the public key": (hmac_by(public_pem), "token_algorithm"),
    "HS256 by the client secret": (hmac_by(lambda issuer: SECRET.encode()), "token_algorithm"),
    "another key by the same name": (
        signs(lambda issuer, claims: issuer.signed(claims, key=rsa_key("other"))),
        "token_signature",
    ),
    "a key that it brings along": (
        signs(
            lambda issuer, claims: issuer.signed(
                claims, key=rsa_key("other"), kid="k9", jwk=jwk(rsa_key("other"), "k9"), jku="https://evil.com/keys"
            )
        ),
        "token_signature",
    ),
    "the key of an encryption": (
        lambda issuer: issuer.keys.__setitem__(0, jwk(issuer.key, "k1", use="enc")),
        "token_signature",
    ),
    "another algorithm than the key's": (
        lambda issuer: issuer.keys.__setitem__(0, jwk(issuer.key, "k1", alg="PS256")),
        "token_signature",
    ),
    "an algorithm that is not announced": (
        signs(lambda issuer, claims: issuer.signed(claims, algorithm="RS512")),
        "token_algorithm",
    ),
    "a key of 1024 bits": (small_key, "token_algorithm"),
    "a header of great depth": (
        signs(lambda issuer, claims: jwt.utils.base64url_encode(b'{"alg":' + b"[" * 40_000).decode() + ".e.x"),
        "token_malformed",
    ),
    "no JWT": (signs(lambda issuer, claims: "x.y.z"), "token_malformed"),
    "a token of a megabyte": (says(padding="x" * 70_000), "token_malformed"),
    "a critical extension": (
        signs(lambda issuer, claims: issuer.signed(claims, crit=["exp"], exp=1)),
        "token_malformed",
    ),
    "a logout token": (signs(lambda issuer, claims: issuer.signed(claims, typ="logout+jwt")), "token_malformed"),
    "an access token": (signs(lambda issuer, claims: issuer.signed(claims, typ="at+jwt")), "token_malformed"),
    "another audience": (says(aud="somebody-else"), "token_audience"),
    "no audience": (says(aud=None), "token_malformed"),
    "two audiences, and no party": (says(aud=["capsule", "somebody-else"]), "token_audience"),
    "another authorized party": (says(azp="somebody-else"), "token_audience"),
    "another issuer": (says(iss="https://evil.com"), "token_issuer"),
    "expired": (later(-90, "exp"), "token_expired"),
    "no end": (says(exp=None), "token_malformed"),
    "an end that is no number": (says(exp="9999999999"), "token_malformed"),
    "issued in the future": (later(120, "iat"), "token_expired"),
    "not valid yet": (later(120, "nbf"), "token_expired"),
    "another nonce": (says(nonce="another"), "nonce"),
    "no nonce": (says(nonce=None), "nonce"),
    "another access token": (says(at_hash="x" * 22), "token_hash"),
    "no subject": (says(sub=None), "token_malformed"),
    "an empty subject": (says(sub=""), "token_malformed"),
    "a subject that is a number": (says(sub=7), "token_malformed"),
    "a subject that cannot be shown": (says(sub="a\x00b"), "token_malformed"),
    "userinfo of somebody else": (lambda issuer: issuer.userinfo.update(sub="boss"), "userinfo"),
    "userinfo that is a list": (answers("/userinfo", []), "userinfo"),
    "userinfo without JSON": (answers("/userinfo", b"<html>"), "userinfo"),
    "userinfo that is away": (answers("/userinfo", {}, 502), "not_reachable"),
    "userinfo that is denied": (answers("/userinfo", {}, 401), "userinfo"),
    "an address that is not verified": (says(email_verified=False), "email_unverified"),
    "an address that is not verified, as text": (says(email_verified="false"), "email_unverified"),
    "verified by a list": (says(email_verified=[True]), "email_unverified"),
    "an address of another domain": (says(email="boss@elsewhere.com"), "foreign_domain"),
    "an address with two @": (says(email="boss@acme.com@elsewhere.com"), "no_email"),
    "an address that is an object": (says(email={"a": 1}), "no_email"),
    "a subject that looks like an address": (
        lambda issuer: issuer.says.update(sub=issuer.person["email"], email=None),
        "userinfo",
    ),
    "no ID token": (answers("/token", {"access_token": "a"}), "no_id_token"),
    "no access token": (answers("/token", {"id_token": "a"}), "code_refused"),
    "an access token with a line break": (answers("/token", {"access_token": "a\nb", "id_token": "a"}), "code_refused"),
    "tokens that are a list": (answers("/token", ["access_token"]), "code_refused"),
    "tokens that are text": (answers("/token", "access_token"), "code_refused"),
    "tokens that are no JSON": (answers("/token", b'{"access_token'), "code_refused"),
    "tokens of great depth": (answers("/token", b'{"' + b"[" * 200_000), "code_refused"),
    "a token endpoint that says no": (answers("/token", {"error": "invalid_client"}, 401), "code_refused"),
    "a token endpoint that leads elsewhere": (
        answers("/token", {}, 307, Location="https://169.254.169.254/"),
        "not_reachable",
    ),
    "a token endpoint that is away": (answers("/token", {}, 503), "not_reachable"),
    "a token endpoint without end": (answers("/token", {"access_token": "x" * 300_000}), "not_reachable"),
}


def refused(tenant: Tenant, client: Client, answer: Any, code: str) -> None:
    """Nobody came in; the page, the trace and the trail say why."""
    assert answer.status_code == (503 if code == "not_reachable" else 403), answer
    assert f"<code>{code}</code>" in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert "capsule_session" not in client.cookies
    kept = trace(tenant)
    assert (kept.state, kept.code) == ("refused", code)
    with scope(tenant.organization):
        assert not ExternalIdentity.objects.exists()
        assert Membership.objects.count() == 1
        told = audited(actions.SIGN_IN_REFUSED.name)
    assert [one.metadata["code"] for one in told] == [code]


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_told(tenant: Tenant, row: IdentityProvider, issuer: Issuer, name: str) -> None:
    attack, code = ATTACKS[name]
    attack(issuer)
    client = Client()
    refused(tenant, client, signed_in(client, row, issuer), code)


def test_an_answer_does_nothing_in_another_browser(tenant: Tenant, row: IdentityProvider, issuer: Issuer) -> None:
    mine, theirs = Client(), Client()
    asked = sent_away(mine, row)
    sent_away(theirs, row)
    refused(tenant, theirs, come_back(theirs, row, issuer, asked), "other_browser")
    assert not issuer.forms


def test_an_answer_counts_once(tenant: Tenant, row: IdentityProvider, issuer: Issuer) -> None:
    client = Client()
    asked = sent_away(client, row)
    cookie = client.cookies[f"sso_{asked['state']}"].value
    assert come_back(client, row, issuer, asked)["Location"] == "/"
    assert b"other_browser" in come_back(client, row, issuer, asked).content  # the browser has nothing left
    client.cookies[f"sso_{asked['state']}"] = cookie
    answer = come_back(client, row, issuer, asked)
    assert (answer.status_code, b"<code>replayed</code>" in answer.content) == (403, True)
    assert len(issuer.forms) == 1  # the second code never left us


def test_a_token_counts_once_even_where_its_state_is_forgotten(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.sso.oidc.views.cache.add", lambda *arguments: True)
    client = Client()
    asked = sent_away(client, row)
    cookie = client.cookies[f"sso_{asked['state']}"].value
    come_back(client, row, issuer, asked)
    client.cookies[f"sso_{asked['state']}"] = cookie
    answer = come_back(client, row, issuer, asked)
    assert (answer.status_code, b"<code>replayed</code>" in answer.content) == (403, True)


def test_a_forged_or_foreign_cookie_opens_nothing(tenant: Tenant, row: IdentityProvider, issuer: Issuer) -> None:
    client, other = Client(), connect(tenant, issuer)
    asked = sent_away(client, other)  # of another provider of the same organization
    assert b"other_browser" in come_back(client, row, issuer, asked).content
    asked = sent_away(client, row)
    client.cookies[f"sso_{asked['state']}"] = "forged"
    assert b"other_browser" in come_back(client, row, issuer, asked).content
    assert not issuer.forms


def test_the_code_of_one_provider_goes_to_no_other(tenant: Tenant, row: IdentityProvider, doors: Doors) -> None:
    evil, client = Issuer(), Client()
    doors.issuers.append(evil)
    asked = sent_away(client, row)
    code = {"code": "of-evil", "iss": evil.url}
    refused(tenant, client, come_back(client, row, evil, asked, **code), "mixed_up")
    assert not evil.forms


def test_an_answer_without_its_issuer_is_refused_where_the_provider_always_names_it(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    client = Client()
    refused(tenant, client, come_back(client, row, issuer, sent_away(client, row), iss=None), "mixed_up")
    issuer.document["authorization_response_iss_parameter_supported"] = False
    with scope(tenant.organization):
        IdentityProvider.objects.update(discovered=None)
    assert come_back(client, row, issuer, sent_away(client, row), iss=None).status_code == 302


def test_a_parameter_that_stands_there_twice_is_refused(tenant: Tenant, row: IdentityProvider, issuer: Issuer) -> None:
    client = Client()
    asked = sent_away(client, row)
    codes = [issuer.code_for(asked), issuer.code_for(asked)]
    refused(tenant, client, come_back(client, row, issuer, asked, code=codes), "mixed_up")


def test_another_organizations_provider_speaks_for_nobody_here(
    tenant: Tenant, stranger: Tenant, row: IdentityProvider, issuer: Issuer, doors: Doors
) -> None:
    theirs = Issuer()
    doors.issuers.append(theirs)
    theirs.person |= {"email": issuer.person["email"]}
    other, client = connect(stranger, theirs), Client()
    refused(stranger, client, signed_in(client, other, theirs), "foreign_domain")
    with scope(tenant.organization):
        assert Membership.objects.count() == 1


def test_what_the_provider_says_instead_of_a_code_is_told(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    client = Client()
    asked = sent_away(client, row)
    answer = come_back(
        client, row, issuer, asked, code=None, error="access_denied", error_description="No <b>\x00seat</b>"
    )
    refused(tenant, client, answer, "status")
    assert trace(tenant).detail == "access_denied: No <b>seat</b>"
    assert b"seat" not in answer.content


def test_it_goes_on_where_it_began_and_never_elsewhere(row: IdentityProvider, issuer: Issuer) -> None:
    assert signed_in(Client(), row, issuer, next="/outbox/")["Location"] == "/outbox/"
    for evil in ("https://evil.com/", "//evil.com/", "/\\evil.com", f"/{'x' * 5000}"):
        assert signed_in(Client(), row, issuer, next=evil)["Location"] == "/"
    asked = sent_away(Client(), row, scope="admin", auth_params="redirect_uri=https://evil.com", process="connect")
    assert "admin" not in asked["scope"]
    assert asked["redirect_uri"].endswith(f"/sso/oidc/{row.pk}/callback/")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://169.254.169.254/latest",
            "https://169.254.169.254/latest",
            "https://localhost:8443/",
            "https://10.0.0.1/",
        ),
        *("https://[::1]/", "https://2130706433/", "http://login.example.com/", "https://127.0.0.1:6379/"),
    ],
)
def test_endpoints_on_our_own_network_are_not_asked(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, settings: Any, url: str
) -> None:
    settings.EGRESS_LOOPBACK = False
    issuer.document["token_endpoint"] = url
    client = Client()
    refused(tenant, client, client.get(f"/sso/oidc/{row.pk}/login/"), "discovery")


def test_an_issuer_on_our_own_network_is_not_asked(
    tenant: Tenant, row: IdentityProvider, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EGRESS_LOOPBACK = False
    door = http.Door(lambda host, port: ["10.0.0.7"])  # a name that leads there
    monkeypatch.setattr(outgoing, "door", lambda: door)
    client = Client()
    refused(tenant, client, client.get(f"/sso/oidc/{row.pk}/login/"), "not_reachable")
    assert "does not lead to an address on the public internet" in trace(tenant).detail
    door.close()


DOCUMENTS: dict[str, tuple[Attack, str]] = {
    "another issuer": (lambda issuer: issuer.document.update(issuer="https://evil.com"), "discovered_issuer"),
    "an issuer with a slash": (lambda issuer: issuer.document.update(issuer=f"{issuer.url}/"), "discovered_issuer"),
    "no token endpoint": (lambda issuer: issuer.document.pop("token_endpoint"), "discovery"),
    "an endpoint that is a program": (
        lambda issuer: issuer.document.update(authorization_endpoint="javascript:alert(1)"),
        "discovery",
    ),
    "no algorithm that is safe": (
        lambda issuer: issuer.document.update(id_token_signing_alg_values_supported=["HS256", "none"]),
        "token_algorithm",
    ),
    "a list": (answers(discovery.WELL_KNOWN, []), "discovery"),
    "no JSON": (answers(discovery.WELL_KNOWN, b"[" * 200_000), "discovery"),
    "not found": (answers(discovery.WELL_KNOWN, {}, 404), "discovery"),
    "elsewhere": (answers(discovery.WELL_KNOWN, {}, 302, Location="http://169.254.169.254/"), "not_reachable"),
    "more than anybody reads": (answers(discovery.WELL_KNOWN, {"x": "x" * 300_000}), "not_reachable"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_bad_discovery_document_is_refused_and_asked_for_once(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer, name: str
) -> None:
    change, code = DOCUMENTS[name]
    change(issuer)
    client = Client()
    refused(tenant, client, client.get(f"/sso/oidc/{row.pk}/login/"), code)
    assert f"<code>{code}</code>" in client.get(f"/sso/oidc/{row.pk}/login/").content.decode()
    assert issuer.asked == [discovery.WELL_KNOWN]


def test_keys_that_are_no_key_set_are_refused(tenant: Tenant, row: IdentityProvider, issuer: Issuer) -> None:
    issuer.answers["/keys"] = lambda: json_answer({"keys": {"k1": "x"}})
    client = Client()
    refused(tenant, client, signed_in(client, row, issuer), "discovery")


@pytest.mark.parametrize("state", ["", "a b;c", "a\x00", "x" * 5000, "\u2603", "="])
def test_a_state_that_is_none_of_ours_is_refused(tenant: Tenant, row: IdentityProvider, state: str) -> None:
    client = Client()
    client.cookies["sso_a"] = "x"
    refused(tenant, client, client.get(f"/sso/oidc/{row.pk}/callback/", {"state": state, "code": "x"}), "other_browser")


def test_keys_and_sessions_that_cannot_be_stored_are_none(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    issuer.keys.append(jwk(rsa_key("other"), "a\x00b", x5c=["\x00"]))
    issuer.says |= {"sid": "a\x00b", "name": "A\x00\u202eda", "x\x00": ["\x00"]}
    assert signed_in(Client(), row, issuer).status_code == 302
    assert (trace(tenant).session_index, trace(tenant).attributes["name"]) == ("ab", ["Ada"])


def test_keys_rotate_and_are_asked_for_anew_at_most_once_a_minute(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    assert signed_in(Client(), row, issuer).status_code == 302
    issuer.key = ec.generate_private_key(ec.SECP256R1())
    issuer.keys.append(jwk(issuer.key, "k2"))
    issuer.says["at_hash"] = None
    issuer.sign = lambda claims: issuer.signed(claims, algorithm="ES256", kid="k2")
    assert signed_in(Client(), row, issuer).status_code == 302
    issuer.keys.append(jwk(issuer.key, "k3"))
    issuer.sign = lambda claims: issuer.signed(claims, algorithm="ES256", kid="k3")
    assert b"<code>token_signature</code>" in signed_in(Client(), row, issuer).content
    assert issuer.asked.count("/keys") == 2
    with scope(tenant.organization):
        IdentityProvider.objects.update(signing_keys_at=timezone.now() - timedelta(hours=2))
    assert signed_in(Client(), row, issuer).status_code == 302  # they are old, and asked for anyway
