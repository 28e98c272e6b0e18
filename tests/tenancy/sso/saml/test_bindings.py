"""Addresses and times that others write are read, or refused with a reason, whatever stands in them."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import bindings, envelopes, metadata, times
from tenancy.sso.saml.configuration import Signer
from tests.identity_provider import SamlProvider

IDP = SamlProvider()
KEYS = metadata.keys(IDP.metadata())
GOOD = IDP.query("<a>hello</a>", state="s")
ECDSA = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"


def test_a_signed_address_is_read_and_its_state_too() -> None:
    assert bindings.message(GOOD, "SAMLRequest", KEYS) == b"<a>hello</a>"
    assert (bindings.relay_state(GOOD), bindings.relay_state("RelayState=" + "s" * 81)) == ("s", "")


def test_an_address_of_ours_holds_by_our_certificate() -> None:
    key = serialization.load_pem_private_key(IDP.key.encode(), None)
    signer = Signer(key)  # type: ignore[arg-type]  # it is RSA
    made = bindings.address("https://idp.example.com/slo?a=b", "SAMLRequest", "<a/>", signer, "s&t")
    assert made.startswith("https://idp.example.com/slo?a=b&SAMLRequest=")
    query = made.partition("?")[2].partition("&")[2]
    assert bindings.message(query, "SAMLRequest", KEYS) == b"<a/>"
    assert bindings.relay_state(query) == "s&t"
    assert signer.get_signer("http://www.w3.org/2000/09/xmldsig#rsa-sha1") is None


def test_a_signature_by_an_elliptic_curve_holds_as_two_numbers() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signed = f"{GOOD.partition('&SigAlg=')[0]}&SigAlg={quote(ECDSA, safe='')}"
    pair = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    raw = b"".join(number.to_bytes(32, "big") for number in pair)
    query = f"{signed}&Signature={base64.b64encode(raw).decode().replace('+', '%2B')}"
    assert bindings.message(query, "SAMLRequest", [*KEYS, key.public_key()]) == b"<a>hello</a>"
    with pytest.raises(Refused) as refusal:
        bindings.message(query, "SAMLRequest", KEYS)
    assert refusal.value.code == "signature"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD)), st.text(max_size=8), st.integers(0, 12))
def test_an_address_that_was_changed_says_the_same_or_is_refused(start: int, put: str, taken: int) -> None:
    changed = GOOD[:start] + put + GOOD[start + taken :]
    try:
        found = bindings.message(changed, "SAMLRequest", KEYS)
    except Refused:
        return
    assert found == b"<a>hello</a>"


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=20), st.text("PTYMDHS0123456789.", max_size=20).map("P{}".format)))
def test_whatever_is_said_to_be_a_duration_is_one_or_is_not(text: str) -> None:
    try:
        assert times.duration(text) >= timedelta()
    except ValueError as failure:
        assert "no duration" in str(failure)  # noqa: PT017  # both ways out are the subject


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P1D", timedelta(days=1)),
        ("PT1H30M", timedelta(minutes=90)),
        ("P1Y2M3DT4H5M6.5S", timedelta(days=428, hours=4, minutes=5, seconds=6)),
    ],
)
def test_a_duration_is_read(text: str, expected: timedelta) -> None:
    assert times.duration(text) == expected


@pytest.mark.parametrize("text", ["P", "PT", "-P1D", "1D", "P1S", ""])
def test_what_is_no_duration_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        times.duration(text)


def test_a_moment_without_a_zone_is_in_utc() -> None:
    assert times.moment("2026-11-30T20:00:00") == datetime(2026, 11, 30, 20, tzinfo=UTC)


@given(st.text(max_size=80))
def test_whatever_is_posted_names_a_request_or_none(text: str) -> None:
    assert len(envelopes.request_named_in(text)) <= 255
    named = base64.b64encode(b'<samlp:Response InResponseTo="id-1" ').decode()
    assert envelopes.request_named_in(named) == "id-1"
