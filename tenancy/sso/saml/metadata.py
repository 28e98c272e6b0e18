"""Reads the metadata of an identity provider, and refuses what could not work or would not be safe."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tenancy.errors import Invalid
from tenancy.sso.saml import times
from tenancy.sso.saml.configuration import REDIRECT

LARGEST = 256 * 1024
SMALLEST_KEY, SMALLEST_CURVE = 2048, 256  # bits
MOST_CERTIFICATES = 20  # each is tried until one fits
MD, DS = "{urn:oasis:names:tc:SAML:2.0:metadata}", "{http://www.w3.org/2000/09/xmldsig#}"
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"


@dataclass(frozen=True, slots=True)
class Described:
    """What the metadata says of one identity provider.

    A certificate carries a key, and its dates are for people to be warned by: they end no trust (SAML V2.0 Metadata
    Interoperability Profile, 2.6.1). What an admin pasted counts until they paste something else.
    """

    entity_id: str
    sign_in_url: str  # HTTP-Redirect
    certificates: frozenset[str]  # SHA-256 of each that may sign
    expires_at: tuple[datetime, ...]  # of each certificate that may sign, the next to expire first
    logout_url: str = ""  # HTTP-Redirect, for requests of ours
    logout_answer_url: str = ""  # for our answers
    valid_until: datetime | None = None
    cache_duration: timedelta | None = None

    @property
    def substance(self) -> tuple[object, ...]:
        """What sign-in depends on: many documents are made anew for each fetch, and say the same."""
        return self.entity_id, self.sign_in_url, self.certificates, self.logout_url, self.logout_answer_url

    @property
    def ends(self) -> dict[str, datetime]:
        """The ends of certificates as the provider's row has them: the last with which somebody comes in, the next."""
        return {"certificate_expires_at": self.expires_at[-1], "next_certificate_expires_at": self.expires_at[0]}


def read(text: str) -> Described:
    """What it says (SAML 2.0 Metadata, section 2). Raises Invalid with what to do."""
    top, entity, role = _provider(text)
    entity_id = entity.get("entityID", "").strip()
    if not entity_id or len(entity_id) > 1024:
        raise _refused("The metadata has no entity ID, or one of more than 1,024 characters.")
    if PROTOCOL not in role.get("protocolSupportEnumeration", "").split():
        raise _refused("The identity provider does not say that it speaks SAML 2.0.")
    logout_url, logout_answer_url = _logout_urls(role)
    certificates = _signing(entity, role)
    return Described(
        entity_id,
        _sign_in_url(role),
        frozenset(one.fingerprint(hashes.SHA256()).hex() for one in certificates),
        tuple(sorted(one.not_valid_after_utc for one in certificates)),
        logout_url,
        logout_answer_url,
        _valid_until(top, entity, role),
        _cache_duration(top, entity, role),
    )


def keys(text: str) -> list[PublicKey]:
    """The keys that may sign; of metadata that was read before. Raises Invalid."""
    _, entity, role = _provider(text)
    return [_key(one) for one in _signing(entity, role)]


def _provider(text: str) -> tuple[Element, Element, Element]:
    """The document, the entity in it, and that entity's role. Raises Invalid where there is not one provider."""
    top = root(text)
    described = [top] if top.tag == f"{MD}EntityDescriptor" else top.findall(f"{MD}EntityDescriptor")
    providers = [(one, role) for one in described for role in one.findall(f"{MD}IDPSSODescriptor")]
    if len(providers) != 1:
        found = "no identity provider" if not providers else f"{len(providers)} identity providers"
        raise _refused(f"The metadata describes {found}: paste that of one.")
    return top, *providers[0]


def root(text: str) -> Element:
    """The document's element. Raises Invalid where it is no XML, or more than may be."""
    try:
        raw = text.strip().encode()
        if len(raw) > LARGEST:
            raise _refused(f"Metadata has at most {LARGEST // 1024} KB.")
        found: Element = fromstring(raw, forbid_dtd=True)
    except DefusedXmlException:
        raise _refused("Metadata with a document type is refused: remove the DOCTYPE.") from None
    except (ParseError, ValueError, LookupError):  # the last for an encoding that nobody knows
        raise _refused("This is no XML: paste the whole metadata, from <EntityDescriptor to its end.") from None
    return found


def _valid_until(*elements: Element) -> datetime | None:
    said = [until for one in elements if (until := one.get("validUntil"))]
    try:
        end = min((times.moment(one) for one in said), default=None)
    except ValueError:
        raise _refused("The end of the metadata's validity is no date.") from None
    if end is not None and end <= datetime.now(UTC):
        raise _refused(f"The metadata was valid until {end:%Y-%m-%d %H:%M} UTC: fetch it again.")
    return end


def _cache_duration(*elements: Element) -> timedelta | None:
    """How long it may be kept at most; what is no duration says nothing."""
    said = [duration for one in elements if (duration := one.get("cacheDuration"))]
    try:
        return min(map(times.duration, said), default=None)
    except ValueError:
        return None


def _sign_in_url(role: Element) -> str:
    services = role.findall(f"{MD}SingleSignOnService")
    found = [one.get("Location", "").strip() for one in services if one.get("Binding") == REDIRECT]
    if not found:
        raise _refused("The identity provider has no sign-in address for the HTTP-Redirect binding, which we use.")
    for address in found:
        if not _is_safe(address):
            raise _refused(f"The sign-in address must begin with https://: {address[:200]}")
    return found[0]


def _logout_urls(role: Element) -> tuple[str, str]:
    """Where requests and answers of a logout go by HTTP-Redirect; '' where there is no such address, or no safe one."""
    services = [one for one in role.findall(f"{MD}SingleLogoutService") if one.get("Binding") == REDIRECT]
    for one in services:
        address = one.get("Location", "").strip()
        answers = one.get("ResponseLocation", "").strip() or address
        if _is_safe(address) and _is_safe(answers):
            return address, answers
    return "", ""


def _is_safe(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:  # a bracket that is no IPv6 address
        return False
    schemes = {"https", "http"} if parts.hostname in {"localhost", "127.0.0.1"} else {"https"}
    return bool(parts.hostname) and parts.username is None and parts.scheme in schemes and " " not in address


def _signing(entity: Element, role: Element) -> list[x509.Certificate]:
    """The certificates that may sign; pysaml2 believes other roles' too, so they are held to the same rules."""
    found = [_certificates(key) for key in entity.iter(f"{MD}KeyDescriptor") if _signs(key)]
    if not any(_signs(key) for key in role.findall(f"{MD}KeyDescriptor")) or not all(found):
        raise _refused("The metadata has no certificate to check signatures with, or a key without one.")
    texts = dict.fromkeys(text for texts in found for text in texts)
    if len(texts) > MOST_CERTIFICATES:
        raise _refused(f"The metadata has {len(texts)} certificates: {MOST_CERTIFICATES} are the most.")
    return [_certificate(text) for text in texts]


def _signs(key: Element) -> bool:
    return key.get("use", "signing") == "signing"


def _certificates(key: Element) -> list[str]:
    """In base64; an empty text for each X509Data without one, over which pysaml2 stumbles."""
    found: list[str | None] = []
    for data in key.iter(f"{DS}X509Data"):
        found += [one.text for one in data.findall(f"{DS}X509Certificate")] or [None]
    return ["".join((text or "").split()) for text in found]


def clean_certificate(text: str) -> str:
    """A certificate that was pasted, as PEM or its base64 alone, as PEM; '' for nothing. Raises Invalid."""
    bare = "".join(line.strip() for line in text.splitlines() if "CERTIFICATE-----" not in line)
    if not bare:
        return ""
    try:
        found = _certificate("".join(bare.split()))
    except Invalid as failure:
        raise Invalid("metadata_certificate", str(failure)) from None
    return found.public_bytes(serialization.Encoding.PEM).decode()


def _certificate(text: str) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        key = _key(certificate)
        certificate.not_valid_after_utc  # noqa: B018  # it may be no time
    except (binascii.Error, ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        raise _refused("A certificate cannot be read.") from None
    least = SMALLEST_KEY if isinstance(key, rsa.RSAPublicKey) else SMALLEST_CURVE
    if key.key_size < least:
        raise _refused(f"A certificate's key has {key.key_size} bits: {least} are the least.")
    return certificate


def _key(certificate: x509.Certificate) -> PublicKey:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise _refused(
            "A certificate's key is neither of RSA nor of an elliptic curve: no other signature is accepted."
        )
    return key


def _refused(sentence: str) -> Invalid:
    return Invalid("metadata", sentence)
