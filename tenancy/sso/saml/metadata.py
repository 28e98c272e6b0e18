"""Reads the metadata of an identity provider, and refuses what could not work or would not be safe."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tenancy.errors import Invalid
from tenancy.sso.saml.configuration import REDIRECT

LARGEST = 256 * 1024
SMALLEST_KEY, SMALLEST_CURVE = 2048, 256  # bits
MOST_CERTIFICATES = 20  # each is tried until one fits, and each try is a process of its own
MD, DS = "{urn:oasis:names:tc:SAML:2.0:metadata}", "{http://www.w3.org/2000/09/xmldsig#}"
PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"


@dataclass(frozen=True, slots=True)
class Described:
    """What the metadata says of one identity provider."""

    entity_id: str
    sign_in_url: str  # HTTP-Redirect
    expires_at: tuple[datetime, ...]  # of each certificate that may sign, the next to expire first


def read(text: str) -> Described:
    """What it says (SAML 2.0 Metadata, section 2). Raises Invalid with what to do."""
    root = _root(text)
    described = [root] if root.tag == f"{MD}EntityDescriptor" else root.findall(f"{MD}EntityDescriptor")
    providers = [(one, role) for one in described for role in one.findall(f"{MD}IDPSSODescriptor")]
    if len(providers) != 1:
        found = "no identity provider" if not providers else f"{len(providers)} identity providers"
        raise _refused(f"The metadata describes {found}: paste that of one.")
    [(entity, role)] = providers
    entity_id = entity.get("entityID", "").strip()
    if not entity_id or len(entity_id) > 1024:
        raise _refused("The metadata has no entity ID, or one of more than 1,024 characters.")
    if PROTOCOL not in role.get("protocolSupportEnumeration", "").split():
        raise _refused("The identity provider does not say that it speaks SAML 2.0.")
    _still_valid(root, entity, role)
    return Described(entity_id, _sign_in_url(role), tuple(sorted(_ends(entity, role))))


def _root(text: str) -> Element:
    try:
        raw = text.strip().encode()
        if len(raw) > LARGEST:
            raise _refused(f"Metadata has at most {LARGEST // 1024} KB.")
        root: Element = fromstring(raw, forbid_dtd=True)
    except DefusedXmlException:
        raise _refused("Metadata with a document type is refused: remove the DOCTYPE.") from None
    except (ParseError, ValueError, LookupError):  # the last for an encoding that nobody knows
        raise _refused("This is no XML: paste the whole metadata, from <EntityDescriptor to its end.") from None
    return root


def _still_valid(*elements: Element) -> None:
    for element in elements:
        if until := element.get("validUntil"):
            try:
                moment = datetime.fromisoformat(until)
            except ValueError:
                raise _refused("The end of the metadata's validity is no date.") from None
            if (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) <= datetime.now(UTC):
                raise _refused(f"The metadata was valid until {until}: fetch it again.")


def _sign_in_url(role: Element) -> str:
    services = role.findall(f"{MD}SingleSignOnService")
    found = [one.get("Location", "").strip() for one in services if one.get("Binding") == REDIRECT]
    if not found:
        raise _refused("The identity provider has no sign-in address for the HTTP-Redirect binding, which we use.")
    for address in found:
        if not _is_safe(address):
            raise _refused(f"The sign-in address must begin with https://: {address[:200]}")
    return found[0]


def _is_safe(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:  # a bracket that is no IPv6 address
        return False
    schemes = {"https", "http"} if parts.hostname in {"localhost", "127.0.0.1"} else {"https"}
    return bool(parts.hostname) and parts.username is None and parts.scheme in schemes and " " not in address


def _ends(entity: Element, role: Element) -> list[datetime]:
    """When the certificates end; pysaml2 believes those of the other roles too, so they are held to the same rules."""
    found = [_certificates(key) for key in entity.iter(f"{MD}KeyDescriptor") if _signs(key)]
    if not any(_signs(key) for key in role.findall(f"{MD}KeyDescriptor")) or not all(found):
        raise _refused("The metadata has no certificate to check signatures with, or a key without one.")
    texts = dict.fromkeys(text for texts in found for text in texts)
    if len(texts) > MOST_CERTIFICATES:
        raise _refused(f"The metadata has {len(texts)} certificates: {MOST_CERTIFICATES} are the most.")
    return [_end_of(text) for text in texts]


def _signs(key: Element) -> bool:
    return key.get("use", "signing") == "signing"


def _certificates(key: Element) -> list[str]:
    """In base64; an empty text for each X509Data without one, over which pysaml2 stumbles."""
    found: list[str | None] = []
    for data in key.iter(f"{DS}X509Data"):
        found += [one.text for one in data.findall(f"{DS}X509Certificate")] or [None]
    return ["".join((text or "").split()) for text in found]


def _end_of(text: str) -> datetime:
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        key, end = certificate.public_key(), certificate.not_valid_after_utc
    except (binascii.Error, ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        raise _refused("A certificate in the metadata cannot be read.") from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise _refused(
            "A certificate's key is neither of RSA nor of an elliptic curve: no other signature is accepted."
        )
    least = SMALLEST_KEY if isinstance(key, rsa.RSAPublicKey) else SMALLEST_CURVE
    if key.key_size < least:
        raise _refused(f"A certificate's key has {key.key_size} bits: {least} are the least.")
    return end


def _refused(sentence: str) -> Invalid:
    return Invalid("metadata", sentence)
