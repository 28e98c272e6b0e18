"""Puts messages into signed addresses, and takes them out (SAML 2.0 Bindings, 3.4: HTTP-Redirect)."""

import base64
import binascii
import zlib
from urllib.parse import parse_qsl, quote_plus, unquote_plus

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import algorithms
from tenancy.sso.saml.configuration import Signer
from tenancy.sso.saml.envelopes import LARGEST
from tenancy.sso.saml.metadata import PublicKey

REQUEST, RESPONSE = "SAMLRequest", "SAMLResponse"
LONGEST_STATE = 80  # bytes of a RelayState
_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}


def address(location: str, kind: str, xml: str, signer: Signer, relay_state: str = "") -> str:
    """The address that carries a message, signed by us."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = base64.b64encode(packer.compress(xml.encode()) + packer.flush()).decode()
    fields = {kind: packed, "RelayState": relay_state, "SigAlg": algorithms.RSA_SHA256}
    query = "&".join(f"{name}={quote_plus(value)}" for name, value in fields.items() if value)
    signature = base64.b64encode(signer.sign(query.encode())).decode()
    return f"{location}{'&' if '?' in location else '?'}{query}&Signature={quote_plus(signature)}"


def message(query: str, kind: str, keys: list[PublicKey]) -> bytes:
    """The message in an address, once one of these keys has signed it. Raises Refused.

    What is signed is the query as it came: how somebody else encodes it is theirs to choose.
    """
    raw: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name in raw and name in {kind, "RelayState", "SigAlg", "Signature"}:
            raise Refused("malformed", f"{name} stands in the address twice.")
        raw[name] = value
    algorithm = unquote_plus(raw.get("SigAlg", ""))
    if "Signature" not in raw:
        raise Refused("signature", "The address is not signed.")
    if algorithm not in algorithms.SIGNATURES:
        raise Refused("weak_algorithm", algorithm or "It names none.")
    signed = "&".join(f"{name}={raw[name]}" for name in (kind, "RelayState", "SigAlg") if name in raw)
    signature = _decoded(unquote_plus(raw["Signature"]))
    if not any(_holds(key, algorithm, signed.encode(), signature) for key in keys):
        raise Refused("signature", "None of the identity provider's certificates has signed the address.")
    return _inflated(_decoded(unquote_plus(raw.get(kind, ""))))


def posted(text: str) -> bytes:
    """The message in a field of a form. Raises Refused."""
    if len(text) > LARGEST:
        raise Refused("malformed", f"More than {LARGEST // 1024} KB.")
    return _decoded(text)


def relay_state(query: str) -> str:
    """What an answer must say again; nothing where it is longer than it may be."""
    found = next((value for name, value in parse_qsl(query) if name == "RelayState"), "")
    return found if len(found.encode()) <= LONGEST_STATE else ""


def _holds(key: PublicKey, algorithm: str, signed: bytes, signature: bytes) -> bool:
    kind, _, size = algorithm.rpartition("#")[2].partition("-")
    try:
        if isinstance(key, rsa.RSAPublicKey) and kind == "rsa":
            key.verify(signature, signed, padding.PKCS1v15(), _HASHES[size])
        elif isinstance(key, ec.EllipticCurvePublicKey) and kind == "ecdsa":
            half = len(signature) // 2  # two numbers, as XML signatures have them
            pair = (int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
            key.verify(encode_dss_signature(*pair), signed, ec.ECDSA(_HASHES[size]))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Refused("malformed", "It is not base64.") from None


def _inflated(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        found = unpacker.decompress(packed, LARGEST)
    except zlib.error:
        raise Refused("malformed", "It is not compressed as it must be.") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise Refused("malformed", f"It is cut off, or has more than {LARGEST // 1024} KB.")
    return found
