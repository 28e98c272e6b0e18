"""Looks at a SAML response before anything believes in it: its size, its shape, and how it is signed."""

import base64
import binascii
import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml.algorithms import (
    CIPHERS,
    DIGESTS,
    DS,
    IDS,
    KEY_DIGESTS,
    KEY_TRANSPORTS,
    SAML,
    SAMLP,
    SIGNATURES,
    XENC,
)

LARGEST = 256 * 1024  # of what is posted
_ASKED = re.compile(rb"\sInResponseTo=[\"']([\w.-]{1,255})[\"']", re.ASCII)
_ENCODING = re.compile(rb"<\?xml [^>]*?encoding\s*=\s*[\"']([^\"'>]*)")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A response as it came: `is_signed` and `is_inner_signed` say that there are signatures, not that they hold."""

    encoded: str  # as pysaml2 wants it
    in_response_to: str
    destination: str
    is_signed: bool
    is_inner_signed: bool
    is_encrypted: bool


def open_envelope(posted: str) -> Envelope:
    """What lies in the `SAMLResponse` of a form. Raises Refused."""
    if len(posted) > LARGEST:
        raise Refused("malformed", f"More than {LARGEST // 1024} KB.")
    encoded = "".join(posted.split())
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("malformed", "It is not base64.") from None
    root = parsed(raw)
    if root.tag != f"{SAMLP}Response":
        raise Refused("malformed", f"It is a {root.tag}.")
    inner = root.findall(f"{SAML}Assertion")
    hidden = root.findall(f"{SAML}EncryptedAssertion")
    everywhere = sum(1 for one in root.iter() if one.tag in {f"{SAML}Assertion", f"{SAML}EncryptedAssertion"})
    if everywhere > 1 or everywhere != len(inner) + len(hidden):
        raise Refused("forbidden_content", f"There are {everywhere} assertions.")
    return Envelope(
        encoded,
        root.get("InResponseTo", ""),
        root.get("Destination", ""),
        root.find(f"{DS}Signature") is not None,
        bool(inner) and inner[0].find(f"{DS}Signature") is not None,
        bool(hidden),
    )


def request_named_in(posted: str) -> str:
    """Which request an answer says that it is for, whatever else is wrong with it; nobody's word is taken for it."""
    try:
        found = _ASKED.search(base64.b64decode("".join(posted[:LARGEST].split())))
    except (binascii.Error, ValueError):
        return ""
    return found[1].decode() if found else ""


def parsed(raw: bytes) -> Element:
    """The document, once nothing in it is forbidden: document types, comments, instructions, weak algorithms.

    Comments split texts where libraries read them differently, so that `a@b.com<!-- -->.evil.com` is two addresses.
    In UTF-16 they would look like something else, and a signature bears such a change: UTF-8 it is. Raises Refused.
    """
    _check_encoding(raw)
    if b"<!--" in raw or b"<![CDATA[" in raw or raw.count(b"<?") > raw.startswith(b"<?xml "):
        raise Refused("forbidden_content", "There is a comment, a CDATA section or an instruction.")
    try:
        root: Element = fromstring(raw, forbid_dtd=True)
    except DefusedXmlException:
        raise Refused("forbidden_content", "There is a document type.") from None
    except (ParseError, ValueError, LookupError) as failure:
        raise Refused("malformed", str(failure)) from None
    _check_algorithms(root)
    _check_identity(root)
    return root


def _check_encoding(raw: bytes) -> None:
    named = _ENCODING.match(raw)
    try:
        raw.decode()
    except UnicodeDecodeError:
        is_utf_8 = False
    else:
        is_utf_8 = b"\x00" not in raw  # which is half of every letter in UTF-16
    if not is_utf_8 or (named is not None and named[1].lower() != b"utf-8"):
        raise Refused("malformed", "It is not in UTF-8.")


def _check_algorithms(root: Element) -> None:
    for one in root.iter():
        algorithm = one.get("Algorithm", "")
        if one.tag == f"{DS}SignatureMethod":
            allowed = SIGNATURES
        elif one.tag == f"{XENC}EncryptionMethod":
            allowed = CIPHERS | KEY_TRANSPORTS
            for digest in one.findall(f"{DS}DigestMethod"):
                _allow(digest.get("Algorithm", ""), KEY_DIGESTS)
        elif one.tag == f"{DS}Reference":
            allowed = DIGESTS
            algorithm = next((digest.get("Algorithm", "") for digest in one.findall(f"{DS}DigestMethod")), "")
        else:
            continue
        _allow(algorithm, allowed)


def _check_identity(root: Element) -> None:
    """What a signature or an encrypted key refers to is one element, in this document."""
    seen: set[str] = set()
    for one in root.iter():
        for name in {one.get(attribute) for attribute in IDS} - {None}:
            if name in seen:
                raise Refused("forbidden_content", "Two elements have the same ID.")
            seen.add(str(name))
        is_pointer = one.tag in {f"{DS}RetrievalMethod", f"{XENC}CipherReference"}
        if is_pointer and not (one.tag == f"{DS}RetrievalMethod" and one.get("URI", "").startswith("#")):
            raise Refused("forbidden_content", "A part of it lies elsewhere.")


def _allow(algorithm: str, allowed: frozenset[str]) -> None:
    if algorithm not in allowed:
        raise Refused("weak_algorithm", algorithm or "It names none.")
