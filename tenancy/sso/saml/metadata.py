"""Reads the metadata of an identity provider, and refuses what could not work or would not be safe."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tenancy.errors import Invalid

LARGEST = 256 * 1024
SMALLEST_KEY = 2048  # bits
MD, DS = "{urn:oasis:names:tc:SAML:2.0:metadata}", "{http://www.w3.org/2000/09/xmldsig#}"
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
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
    _still_valid(entity, role)
    return Described(entity_id, _sign_in_url(role), tuple(sorted(_ends(role))))


def _root(text: str) -> Element:
    if len(text.encode()) > LARGEST:
        raise _refused(f"Metadata has at most {LARGEST // 1024} KB.")
    try:
        root: Element = fromstring(text.strip().encode(), forbid_dtd=True)
    except DefusedXmlException:
        raise _refused("Metadata with a document type is refused: remove the DOCTYPE.") from None
    except (ParseError, ValueError):
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
        parts = urlsplit(address)
        is_local = parts.hostname in {"localhost", "127.0.0.1"}
        if not parts.hostname or parts.username or parts.scheme not in ({"https", "http"} if is_local else {"https"}):
            raise _refused(f"The sign-in address must begin with https://: {address[:200]}")
    return found[0]


def _ends(role: Element) -> list[datetime]:
    descriptors = [one for one in role.findall(f"{MD}KeyDescriptor") if one.get("use", "signing") == "signing"]
    texts = ["".join((one.text or "").split()) for key in descriptors for one in key.iter(f"{DS}X509Certificate")]
    if not texts:
        raise _refused("The metadata has no certificate to check signatures with.")
    return [_end_of(text) for text in texts]


def _end_of(text: str) -> datetime:
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        key = certificate.public_key()
    except (binascii.Error, ValueError, x509.UnsupportedGeneralNameType):
        raise _refused("A certificate in the metadata cannot be read.") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < SMALLEST_KEY:
        raise _refused(f"A certificate's key has {key.key_size} bits: {SMALLEST_KEY} are the least.")
    return certificate.not_valid_after_utc


def _refused(sentence: str) -> Invalid:
    return Invalid("metadata", sentence)
