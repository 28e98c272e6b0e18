"""Whatever is posted as a SAML response is opened or refused; nothing that is forbidden comes through in disguise."""

import base64

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml.envelopes import LARGEST, Envelope, open_envelope
from tests.identity_provider import NAMESPACES, posted

ASSERTION = '<saml:Assertion ID="_a"><saml:Subject>ada@acme.com</saml:Subject></saml:Assertion>'
SIGNED = ASSERTION.replace(
    "<saml:Subject>", '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/><saml:Subject>'
)
HIDDEN = "<saml:EncryptedAssertion/>"


def response(inside: str = ASSERTION, head: str = "") -> str:
    return f"<samlp:Response {NAMESPACES}{head}>{inside}</samlp:Response>"


def method(kind: str, algorithm: str, inside: str = "") -> str:
    """A response that names an algorithm."""
    space = "2001/04/xmlenc#" if kind == "EncryptionMethod" else "2000/09/xmldsig#"
    named = f' Algorithm="{algorithm}"' if algorithm else ""
    return response(f'{ASSERTION}<x:{kind} xmlns:x="http://www.w3.org/{space}"{named}>{inside}</x:{kind}>')


def digest(algorithm: str) -> str:
    return f'<d:DigestMethod xmlns:d="http://www.w3.org/2000/09/xmldsig#" Algorithm="{algorithm}"/>'


def refusal_of(raw: bytes) -> Refused:
    with pytest.raises(Refused) as refusal:
        open_envelope(base64.b64encode(raw).decode())
    return refusal.value


def test_an_envelope_says_what_is_in_it_and_believes_nothing() -> None:
    head = ' InResponseTo="_r" Destination="https://here/acs/"'
    encoded = posted(response(head=head))
    assert open_envelope(encoded) == Envelope(encoded, "_r", "https://here/acs/", False, False, False)
    assert open_envelope(posted(response())) == Envelope(posted(response()), "", "", False, False, False)
    for inside, told in ((SIGNED, (False, True, False)), (HIDDEN, (False, False, True))):
        found = open_envelope(posted(response(inside)))
        assert (found.is_signed, found.is_inner_signed, found.is_encrypted) == told
    outer = '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>'
    assert open_envelope(posted(response(outer + ASSERTION))).is_signed


def test_base64_may_be_broken_into_lines() -> None:
    encoded = posted(response())
    lines = "\r\n".join(encoded[start : start + 76] for start in range(0, len(encoded), 76))
    assert open_envelope(lines).encoded == encoded


def test_a_status_alone_is_opened() -> None:
    assert not open_envelope(posted(response("<samlp:Status/>"))).is_inner_signed


@pytest.mark.parametrize(
    "inside",
    [
        ASSERTION * 2,
        ASSERTION + HIDDEN,
        f"<samlp:Extensions>{ASSERTION}</samlp:Extensions>",
        ASSERTION.replace("</saml:Assertion>", f"{ASSERTION}</saml:Assertion>"),
        f"{ASSERTION}<samlp:Status>{HIDDEN}</samlp:Status>",
    ],
)
def test_a_second_or_a_hidden_away_assertion_is_refused(inside: str) -> None:
    assert refusal_of(response(inside).encode()).code == "forbidden_content"


FORBIDDEN = {
    "a comment": response(ASSERTION.replace("acme.com", "acme.com<!-- -->.evil.com")),
    "a CDATA section": response(ASSERTION.replace("acme", "<![CDATA[acme]]>")),
    "an instruction": response(f"<?php x?>{ASSERTION}"),
    "an instruction before": f"<?x y?>{response()}",
    "a document type": f"<!DOCTYPE a>{response()}",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_libraries_read_differently_is_refused(name: str) -> None:
    assert refusal_of(FORBIDDEN[name].encode()).code == "forbidden_content"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", FORBIDDEN)
def test_no_encoding_hides_it(name: str, encoding: str) -> None:
    assert refusal_of(FORBIDDEN[name].encode(encoding)).code in {"malformed", "forbidden_content"}


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-16", "cp037", "utf-7", "nonsense", "", "UTF-8x"])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_another_encoding_than_utf_8_is_refused(encoding: str, quote: str) -> None:
    assert (
        refusal_of(f'<?xml version="1.0" encoding = {quote}{encoding}{quote}?>{response()}'.encode()).code
        == "malformed"
    )


@pytest.mark.parametrize("head", ["<?xml version='1.0'?>", '<?xml version="1.0" encoding="UTF-8"?>\n', "", "\n"])
def test_utf_8_may_be_said(head: str) -> None:
    text = head + response(ASSERTION.replace("ada", "bücher€👩"))
    assert open_envelope(posted(text)).encoded == posted(text)


@pytest.mark.parametrize(
    "xml",
    [
        method("SignatureMethod", "http://www.w3.org/2000/09/xmldsig#rsa-sha1"),
        method("SignatureMethod", "http://www.w3.org/2000/09/xmldsig#hmac-sha1"),
        method("SignatureMethod", "http://www.w3.org/2000/09/xmldsig#dsa-sha1"),
        method("SignatureMethod", ""),
        method("Reference", "", digest("http://www.w3.org/2000/09/xmldsig#sha1")),
        method("Reference", "", digest("http://www.w3.org/2001/04/xmldsig-more#md5")),
        method("Reference", ""),
        method("EncryptionMethod", "http://www.w3.org/2001/04/xmlenc#tripledes-cbc"),
        method("EncryptionMethod", "http://www.w3.org/2001/04/xmlenc#rsa-1_5"),
        method(
            "EncryptionMethod",
            "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
            digest("http://www.w3.org/2001/04/xmldsig-more#md5"),
        ),
    ],
)
def test_a_weak_algorithm_is_refused_wherever_it_is_named(xml: str) -> None:
    assert refusal_of(xml.encode()).code == "weak_algorithm"


@pytest.mark.parametrize(
    "xml",
    [
        method("SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"),
        method("SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"),
        method("Reference", "", digest("http://www.w3.org/2001/04/xmlenc#sha512")),
        method("EncryptionMethod", "http://www.w3.org/2009/xmlenc11#aes256-gcm"),
        method(
            "EncryptionMethod",
            "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
            digest("http://www.w3.org/2000/09/xmldsig#sha1"),
        ),
    ],
)
def test_a_strong_algorithm_is_taken(xml: str) -> None:
    assert open_envelope(posted(xml)).encoded == posted(xml)


def test_more_than_256_kb_are_not_even_decoded() -> None:
    with pytest.raises(Refused, match="no SAML response") as refusal:
        open_envelope("%" * (LARGEST + 1))
    assert refusal.value.detail == "More than 256 KB."


def opens_or_refuses(text: str) -> None:
    """Both ways out are fine; no other exception leaves."""
    try:
        assert open_envelope(text).encoded
    except Refused as refusal:
        assert refusal.code in {"malformed", "forbidden_content", "weak_algorithm"}  # noqa: PT017  # both are the subject
        assert len(refusal.detail) <= 500  # noqa: PT017


@settings(deadline=None)
@given(text=st.text() | st.text("ABCDabcd0123+/=-_ \n"))
@example("\ud800")
@example("=" * 7)
def test_whatever_is_posted_is_opened_or_refused(text: str) -> None:
    opens_or_refuses(text)


@settings(deadline=None)
@given(raw=st.binary())
@example(b"\xef\xbb\xbf<a/>")
@example(b"<a" + b" b" * 9 + b"/>")
@example(b'<?xml version="1.0" encoding="\xff"?><a/>')
def test_whatever_bytes_are_posted_are_opened_or_refused(raw: bytes) -> None:
    opens_or_refuses(base64.b64encode(raw).decode())


PIECES = st.sampled_from(
    [
        *(b"", b"<", b">", b"&#0;", b"]]>", b"<!--", b"<?", b"\x00", b"\xff\xfe", b"\xc3", b"xmlns='", b"<a>", b"</a>"),
        *(ASSERTION.encode(), SIGNED.encode(), HIDDEN.encode(), b" ID='_a'", b"<!DOCTYPE a>", b"saml:", b"Response"),
    ]
)
WHOLE = method("SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256").encode()


@settings(deadline=None)
@given(st.data())
def test_a_response_that_was_changed_anywhere_is_opened_or_refused(data: st.DataObject) -> None:
    raw = WHOLE
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw)))
        raw = raw[:start] + data.draw(PIECES | st.binary(max_size=4)) + raw[start + data.draw(st.integers(0, 30)) :]
    opens_or_refuses(base64.b64encode(raw).decode())
