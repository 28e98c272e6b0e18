"""The metadata reader takes what works and is safe; everything else is refused with what to do about it."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenancy.errors import Invalid
from tenancy.sso.saml import metadata
from tests.identity_provider import SamlProvider, pair

IDP = SamlProvider()
GOOD = IDP.metadata()
OPEN = '<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">'
CLOSE = "</md:EntitiesDescriptor>"
KEY = GOOD[GOOD.index("<md:KeyDescriptor") : GOOD.index("<md:SingleSignOnService")]
ROLE = GOOD[GOOD.index("<md:IDPSSODescriptor") : GOOD.index("</md:EntityDescriptor>")]
ADDRESS = "https://idp.example.com/sso"
DER = base64.b64decode(KEY[KEY.index("X509Certificate>") + 16 : KEY.index("</ds:X509Certificate>")])


def of(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    """A certificate of a key that is not RSA, as PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp.example.com")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=9))
    digest = hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM).decode()


def with_certificate(pem: str) -> str:
    """The metadata, with this one beside its own."""
    return IDP.metadata(pem)


def at(days: float) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def valid_until(moment: str) -> str:
    return GOOD.replace("entityID=", f'validUntil="{moment}" entityID=', 1)


def test_good_metadata_is_read() -> None:
    described = metadata.read(f"\n {GOOD}\n")
    [end] = described.expires_at
    assert (described.entity_id, described.sign_in_url) == (IDP.entity_id, ADDRESS)
    assert timedelta(days=364) < end - datetime.now(UTC) <= timedelta(days=365)


def test_of_two_certificates_the_next_to_end_comes_first() -> None:
    _, sooner = pair(days=3)
    first, second = metadata.read(with_certificate(sooner)).expires_at
    assert first - datetime.now(UTC) < timedelta(days=4) < second - datetime.now(UTC)


def test_the_same_certificate_twice_counts_once() -> None:
    assert len(metadata.read(with_certificate(IDP.certificate)).expires_at) == 1


def test_a_certificate_for_encryption_is_none_to_check_signatures_with() -> None:
    for_both = KEY.replace(' use="signing"', "")
    assert len(metadata.read(GOOD.replace(KEY, for_both)).expires_at) == 1
    for_encryption = KEY.replace("signing", "encryption")
    assert len(metadata.read(GOOD.replace(KEY, KEY + for_encryption)).expires_at) == 1
    with pytest.raises(Invalid, match="no certificate"):
        metadata.read(GOOD.replace(KEY, for_encryption))


def test_a_federation_s_document_with_one_identity_provider_is_read() -> None:
    service = '<md:EntityDescriptor entityID="https://sp.example.com"/>'
    assert metadata.read(f"{OPEN}{service}{GOOD}{CLOSE}").entity_id == IDP.entity_id


@pytest.mark.parametrize("days", [1, 400_000])
def test_metadata_is_good_until_its_end(days: int) -> None:
    assert metadata.read(valid_until(at(days))).entity_id == IDP.entity_id
    assert metadata.read(valid_until("2999-01-01T00:00:00.123+02:00")).entity_id == IDP.entity_id


@pytest.mark.parametrize(
    "address", ["http://localhost:8080/sso", "http://127.0.0.1/sso", "https://a.test:8443/?tenant=1"]
)
def test_a_safe_sign_in_address_is_taken(address: str) -> None:
    assert metadata.read(IDP.metadata(location=address)).sign_in_url == address


def test_an_elliptic_curve_may_sign() -> None:
    assert len(metadata.read(with_certificate(of(ec.generate_private_key(ec.SECP256R1())))).expires_at) == 2


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "nothing": (lambda: "", "This is no XML"),
    "no XML": (lambda: "https://idp.example.com/metadata", "This is no XML"),
    "half a document": (lambda: GOOD[:-30], "This is no XML"),
    "half a character": (lambda: GOOD.replace("idp.", "\ud800", 1), "This is no XML"),
    "an unknown encoding": (lambda: f'<?xml version="1.0" encoding="nonsense"?>{GOOD}', "This is no XML"),
    "something else": (lambda: "<a/>", "describes no identity provider"),
    "a service": (lambda: GOOD.replace("IDPSSODescriptor", "SPSSODescriptor"), "describes no identity provider"),
    "two of them": (lambda: f"{OPEN}{GOOD}{SamlProvider().metadata()}{CLOSE}", "describes 2 identity providers"),
    "two roles of one": (lambda: GOOD.replace(ROLE, ROLE * 2), "describes 2 identity providers"),
    "a federation within a federation": (lambda: f"{OPEN}{OPEN}{GOOD}{CLOSE}{CLOSE}", "no identity provider"),
    "no entity ID": (lambda: GOOD.replace(IDP.entity_id, " "), "no entity ID"),
    "a long entity ID": (lambda: GOOD.replace(IDP.entity_id, "x" * 1025), "no entity ID"),
    "another protocol": (lambda: GOOD.replace("SAML:2.0:protocol", "SAML:1.1:protocol"), "speaks SAML 2.0"),
    "a document type": (lambda: f"<!DOCTYPE a>{GOOD}", "remove the DOCTYPE"),
    "an entity": (lambda: f'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>{GOOD}', "remove the DOCTYPE"),
    "too much": (lambda: GOOD.replace("<md:Key", f"<!--{'x' * 256 * 1024}--><md:Key", 1), "at most 256 KB"),
    "too much in few characters": (lambda: GOOD.replace("<md:Key", f"<!--{'€' * 90_000}--><md:Key", 1), "256 KB"),
    "an end in the past": (lambda: valid_until(at(-1)), "was valid until"),
    "an end in the past, of the role": (
        lambda: GOOD.replace("<md:IDPSSODescriptor", f'<md:IDPSSODescriptor validUntil="{at(-1)}"'),
        "was valid until",
    ),
    "an end in the past, of the federation": (
        lambda: OPEN.replace(">", f' validUntil="{at(-1)}">') + GOOD + CLOSE,
        "was valid until",
    ),
    "an end that is no date": (lambda: valid_until("soon"), "is no date"),
    "no certificate": (lambda: GOOD.replace(KEY, ""), "no certificate"),
    "a key without a certificate": (
        lambda: GOOD.replace(KEY, KEY + '<md:KeyDescriptor use="signing"/>'),
        "a key without one",
    ),
    "no base64": (lambda: GOOD.replace("<ds:X509Certificate>", "<ds:X509Certificate>%"), "cannot be read"),
    "a broken certificate": (
        lambda: GOOD.replace("<ds:X509Certificate>", "<ds:X509Certificate>AAAA"),
        "cannot be read",
    ),
    "an empty certificate": (lambda: GOOD.replace(base64.b64encode(DER).decode(), ""), "cannot be read"),
    "data without a certificate": (
        lambda: GOOD.replace("</ds:X509Data>", "</ds:X509Data><ds:X509Data/>"),
        "cannot be read",
    ),
    "a weak key": (lambda: with_certificate(pair(bits=1024)[1]), "has 1024 bits: 2048 are the least"),
    "a weak key in another role": (
        lambda: GOOD.replace(
            ROLE,
            ROLE
            + with_certificate(pair(bits=1024)[1])
            .partition("</md:IDPSSODescriptor>")[0][GOOD.index("<md:IDPSSODescriptor") :]
            .replace("IDPSSODescriptor", "AttributeAuthorityDescriptor")
            + "</md:AttributeAuthorityDescriptor>",
        ),
        "has 1024 bits",
    ),
    "a weak curve": (lambda: with_certificate(of(ec.generate_private_key(ec.SECP192R1()))), "has 192 bits"),
    "another kind of key": (lambda: with_certificate(of(ed25519.Ed25519PrivateKey.generate())), "neither of RSA"),
    "many certificates": (
        lambda: IDP.metadata(*(of(ec.generate_private_key(ec.SECP256R1())) for _ in range(20))),
        "has 21 certificates",
    ),
    "no address": (lambda: GOOD.replace("SingleSignOnService", "SingleLogoutService"), "no sign-in address"),
    "an address of another binding": (lambda: GOOD.replace("HTTP-Redirect", "HTTP-POST"), "no sign-in address"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_work_is_refused_with_what_to_do(name: str) -> None:
    make, sentence = REFUSED[name]
    with pytest.raises(Invalid, match=sentence) as refusal:
        metadata.read(make())
    assert refusal.value.field == "metadata"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "http://idp.example.com/sso",
        "http://localhost.evil.example/sso",
        "https://admin@idp.example.com/sso",
        "https://@idp.example.com/sso",
        "https:///sso",
        "https://[::1",
        "https://idp.example.com/a b",
        "//idp.example.com/sso",
        "/sso",
        "",
    ],
)
def test_an_address_that_is_not_safe_is_refused(address: str) -> None:
    with pytest.raises(Invalid, match="must begin with https://"):
        metadata.read(IDP.metadata(location=address))


def test_one_unsafe_address_among_safe_ones_is_refused() -> None:
    at_end = GOOD.index("</md:IDPSSODescriptor>")
    more = GOOD[GOOD.index("<md:SingleSignOnService") : at_end].replace(ADDRESS, "javascript:alert(1)")
    with pytest.raises(Invalid, match="javascript:alert"):
        metadata.read(GOOD[:at_end] + more + GOOD[at_end:])


def reads_or_refuses(text: str) -> None:
    """Both ways out are fine: a description that can be used, or a refusal at the form's field."""
    try:
        described = metadata.read(text)
    except Invalid as refusal:
        assert refusal.field == "metadata"  # noqa: PT017  # both ways out are the subject
        assert str(refusal)  # noqa: PT017
    else:
        assert 1 <= len(described.entity_id) <= 1024
        assert described.sign_in_url.startswith(("https://", "http://localhost", "http://127.0.0.1"))
        assert described.expires_at


@settings(deadline=None)
@given(text=st.text())
@example("\ud800")
@example('<?xml version="1.0" encoding="utf-7"?><a/>')
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    reads_or_refuses(text)


PIECES = st.sampled_from(
    [
        *("", "<", ">", "&", '"', "\x00", "\ud800", "&#0;", "&#xD800;", "]]>", "<!--", "<![CDATA[", "<?x ?>"),
        *("https://[", "://", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "-", "0", "=", "AAAA"),
        *("IDPSSODescriptor", "</md:KeyDescriptor>", "<md:KeyDescriptor/>", KEY, ROLE, GOOD, ' validUntil="x"'),
    ]
)


@settings(deadline=None)
@given(st.data())
def test_metadata_that_was_changed_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 40))
        text = text[:start] + data.draw(PIECES | st.text(max_size=5)) + text[end:]
    reads_or_refuses(text)


@pytest.mark.filterwarnings("ignore:Parsed a serial number:cryptography.utils.CryptographyDeprecationWarning")
@settings(deadline=None)
@given(st.integers(0, len(DER) - 1), st.binary(max_size=4), st.integers(0, 4))
def test_a_certificate_that_was_changed_anywhere_is_read_or_refused(start: int, put: bytes, taken: int) -> None:
    changed = DER[:start] + put + DER[start + taken :]
    reads_or_refuses(GOOD.replace(base64.b64encode(DER).decode(), base64.b64encode(changed).decode()))


@settings(deadline=None)
@given(moment=st.datetimes(timezones=st.timezones() | st.none()))
@example(datetime(1, 1, 1, tzinfo=UTC))
def test_every_end_of_validity_is_read_or_refused(moment: datetime) -> None:
    reads_or_refuses(valid_until(moment.isoformat()))
