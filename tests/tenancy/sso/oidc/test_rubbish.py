"""Whatever a provider sends, it is read or refused: nothing of it ends in an error of ours."""

import base64
import contextlib
import json
from typing import Any
from uuid import uuid4

from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from tenancy.sso.models import IdentityProvider
from tenancy.sso.oidc import claims, discovery, tokens
from tenancy.sso.providers.reasons import Refused
from tests.tenancy.sso.oidc.issuer import CLIENT, Issuer, rsa_key

ISSUER = Issuer("https://login.example.com/t")
ROW = IdentityProvider(
    id=uuid4(),
    protocol="oidc",
    issuer=ISSUER.url,
    client_id=CLIENT,
    discovered=discovery.read(ISSUER.document, IdentityProvider(issuer=ISSUER.url)),
    discovered_at=timezone.now(),
    signing_keys=discovery.read_keys({"keys": ISSUER.keys}),
    signing_keys_at=timezone.now(),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES: Any = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=8), SCALARS, max_size=3)
few = settings(max_examples=50, deadline=None)
NAMES = st.sampled_from(
    [
        *("iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "auth_time", "jti", "sid", "events"),
        *("email", "email_verified", "name", "groups", "_claim_names"),
    ]
)


def encoded(part: Any) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def read(token: str, row: IdentityProvider = ROW) -> None:
    """Both kinds of tokens; whatever is believed can be kept."""
    with contextlib.suppress(Refused):
        tokens.logout_token(row, token)
    with contextlib.suppress(Refused):
        found = tokens.id_token(row, token, nonce="n", access_token="a")
        claims.says_unverified(found)
        kept = claims.asserted_by(found)
        texts = [kept.subject, kept.session_index, *kept.attributes]
        assert all(text.isprintable() for text in texts + [one for value in kept.attributes.values() for one in value])


@few
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_claims_are_believed_or_refused(said: dict[str, Any]) -> None:
    with contextlib.suppress(ValueError, TypeError):  # what PyJWT does not sign
        read(ISSUER.signed({**ISSUER.claims("n", "a"), **said}))


@few
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "cty"]), VALUES), VALUES)
def test_any_header_and_body_are_refused(header: dict[str, Any], body: Any) -> None:
    row = IdentityProvider(**{field.attname: getattr(ROW, field.attname) for field in ROW._meta.concrete_fields})
    row.pk = uuid4()
    read(f"{encoded(header)}.{encoded(body)}.{encoded('x')}", row)
    read(f"{encoded({'alg': 'RS256', 'kid': 'k1', **header})}.{encoded(body)}.{encoded('x')}", row)


@few
@given(st.text(max_size=40) | st.from_regex(r"[\w-]{0,9}\.[\w-]{0,9}\.[\w-]{0,9}"))
def test_any_text_is_refused(text: str) -> None:
    read(text)


@few
@given(st.dictionaries(st.sampled_from([*ISSUER.document, "end_session_endpoint"]), VALUES))
def test_any_document_is_read_or_refused(said: dict[str, Any]) -> None:
    with contextlib.suppress(Refused):
        json.dumps(discovery.read({**ISSUER.document, **said}, ROW))


@few
@given(
    st.dictionaries(st.just("keys"), VALUES | st.lists(st.dictionaries(st.sampled_from(discovery.KEY_MEMBERS), VALUES)))
)
def test_any_keys_are_read_or_refused(said: dict[str, Any]) -> None:
    with contextlib.suppress(Refused):
        row = IdentityProvider(**{field.attname: getattr(ROW, field.attname) for field in ROW._meta.concrete_fields})
        row.signing_keys = discovery.read_keys(said)
        read(ISSUER.signed(ISSUER.claims("n", "a"), key=rsa_key("other")), row)
