"""Checks, makes and opens XML signatures and encryption in this process, by libxmlsec, for pysaml2.

A signature counts for one element: it is that element's own child, and refers to that element alone. Nothing that a
document names is fetched, no key in it is believed, and only `algorithms` are used.
"""

import copy
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import xmlsec
from lxml import etree
from xmlsec import constants

from tenancy.sso.saml import algorithms
from tenancy.sso.saml.algorithms import DS, IDS, XENC

_SIGNED_BY = (
    constants.TransformExclC14N,
    constants.TransformExclC14NWithComments,
    *(constants.TransformRsaSha256, constants.TransformRsaSha384, constants.TransformRsaSha512),
    *(constants.TransformEcdsaSha256, constants.TransformEcdsaSha384, constants.TransformEcdsaSha512),
)
_REFERRED_BY = (
    *(constants.TransformEnveloped, constants.TransformExclC14N, constants.TransformExclC14NWithComments),
    *(constants.TransformSha256, constants.TransformSha384, constants.TransformSha512),
)
# libxmlsec could open files and addresses: here it opens nothing
xmlsec.cleanup_callbacks()


class Unsafe(Exception):
    """A document that must not be believed, or cannot be read."""


class InProcess:
    """What pysaml2 calls a crypto backend. `keys` are ours, PEM by the name that pysaml2 is told."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        # OpenSSL looks 50 ms at each RSA key that it reads
        self._keys = {name: xmlsec.Key.from_memory(pem, constants.KeyDataFormatPem, None) for name, pem in keys.items()}

    def validate_signature(
        self, signedtext: str | bytes, cert_file: str, cert_type: str, node_name: str, node_id: str
    ) -> bool:
        """Whether the element `node_id` is signed by the certificate's key."""
        return is_signed(signedtext, Path(cert_file).read_bytes(), node_name, node_id)

    def sign_statement(self, statement: object, node_name: str, key_file: str, node_id: str) -> str:
        """The document, whose element `node_id` has the form of a signature, signed. Raises Unsafe."""
        node = _named(_tree(str(statement)), node_name, node_id)
        context = _context(node)
        context.key = self._keys[key_file]
        try:
            context.sign(_signature(node))
        except xmlsec.Error as failure:
            raise Unsafe(str(failure)) from failure
        return _text(node.getroottree())

    def decrypt(self, enctext: str | bytes, key_file: str) -> str:
        """The document with its first encrypted element opened; '' where that key opens nothing."""
        try:
            root = _tree(enctext)
            hidden = _hidden(root)
            manager = xmlsec.KeysManager()
            manager.add_key(self._keys[key_file])
            del hidden.attrib["Type"]  # else libxml2 would read it, and say on stderr what it does not understand
            return _put_in_place(hidden, xmlsec.EncryptionContext(manager).decrypt(hidden))
        except (Unsafe, xmlsec.Error, ValueError):
            return ""


def is_signed(text: str | bytes, certificate: bytes, node_name: str, node_id: str) -> bool:
    """Whether the element `node_id`, of this name (`urn:…:protocol:Response`), is signed by the certificate's key."""
    try:
        node = _named(_tree(text), node_name, node_id)
        context = _context(node)
        context.key = xmlsec.Key.from_memory(certificate, constants.KeyDataFormatCertPem, None)
        context.verify(_signature(node))
    except (Unsafe, xmlsec.Error, ValueError):  # the last for a certificate that is none
        return False
    return True


def _tree(text: str | bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(text.encode() if isinstance(text, str) else text, parser)
    except etree.LxmlError as failure:
        raise Unsafe(str(failure)) from failure
    if root.getroottree().docinfo.doctype:
        raise Unsafe("There is a document type.")
    return root


def _text(tree: Any) -> str:
    text: str = etree.tostring(tree, encoding="unicode")
    return text


def _named(root: etree._Element, name: str, node_id: str) -> etree._Element:
    """The one element with this ID, which must be of this name (`urn:…:protocol:Response`)."""
    space, _, local = name.rpartition(":")
    found = [one for one in root.iter(etree.Element) if node_id in {one.get(name) for name in IDS}]
    if len(found) != 1 or found[0].tag != f"{{{space}}}{local}" or found[0].get("ID") != node_id:
        raise Unsafe(f"{len(found)} elements have the ID.")
    return found[0]


def _signature(node: etree._Element) -> etree._Element:
    """The element's own signature, when it is one as SAML has them (SAML 2.0 Core, 5.4)."""
    found = node.findall(f"{DS}Signature")
    if len(found) != 1:
        raise Unsafe(f"The element has {len(found)} signatures.")
    [signature] = found
    information = _one(signature, f"{DS}SignedInfo")
    reference = _one(information, f"{DS}Reference")
    transforms = reference.findall(f"{DS}Transforms/{DS}Transform")
    _allow(_one(information, f"{DS}SignatureMethod"), algorithms.SIGNATURES)
    _allow(_one(information, f"{DS}CanonicalizationMethod"), algorithms.CANONICALIZATIONS)
    _allow(_one(reference, f"{DS}DigestMethod"), algorithms.DIGESTS)
    for transform in transforms:
        _allow(transform, algorithms.CANONICALIZATIONS | {algorithms.ENVELOPED})
    if algorithms.ENVELOPED not in {one.get("Algorithm") for one in transforms}:
        raise Unsafe("The signature is not enveloped.")
    if reference.get("URI") != f"#{node.get('ID')}" or signature.find(f"{DS}Object") is not None:
        raise Unsafe("The signature is over something else.")
    return signature


def _context(node: etree._Element) -> xmlsec.SignatureContext:
    context = xmlsec.SignatureContext()
    for transform in _SIGNED_BY:
        context.enable_signature_transform(transform)
    for transform in _REFERRED_BY:
        context.enable_reference_transform(transform)
    context.register_id(node, "ID")
    return context


def _hidden(root: etree._Element) -> etree._Element:
    """The first EncryptedData, with its key inside, when it is as it may be (XML Encryption, 3.5 and 5.2)."""
    data = next(root.iter(f"{XENC}EncryptedData"), None)
    if data is None or data.get("Type") != algorithms.ELEMENT:
        raise Unsafe("There is no encrypted element.")
    _allow(_one(data, f"{XENC}EncryptionMethod"), algorithms.CIPHERS)
    information = _one(data, f"{DS}KeyInfo")
    if (pointer := information.find(f"{DS}RetrievalMethod")) is not None:
        information.replace(pointer, _key_elsewhere(root, pointer))
    key = _one(information, f"{XENC}EncryptedKey")
    method = _one(key, f"{XENC}EncryptionMethod")
    _allow(method, algorithms.KEY_TRANSPORTS)
    for digest in method.findall(f"{DS}DigestMethod"):
        _allow(digest, algorithms.KEY_DIGESTS)
    if next(data.iter(f"{XENC}CipherReference", f"{DS}RetrievalMethod"), None) is not None:
        raise Unsafe("What is encrypted lies elsewhere.")
    return data


def _put_in_place(hidden: etree._Element, opened: bytes) -> str:
    """The document with the element that was hidden in its place, letter for letter: a signature may cover it.

    It may use prefixes that are declared around it. lxml would rename them, where another means the same.
    """
    parent = hidden.getparent()
    if parent is None:
        raise Unsafe("Everything is encrypted.")
    names = "".join(
        f" xmlns{':' if name else ''}{name or ''}={quoteattr(space)}" for name, space in parent.nsmap.items()
    )
    found = list(_tree(b"<x%b>%b</x>" % (names.encode(), opened)))
    if len(found) != 1:
        raise Unsafe(f"{len(found)} elements were encrypted as one.")
    mark = etree.Element(f"x-{secrets.token_hex(16)}")
    mark.tail = hidden.tail
    parent.replace(hidden, mark)
    return _text(parent.getroottree()).replace(f"<{mark.tag}/>", opened.decode())


def _key_elsewhere(root: etree._Element, pointer: etree._Element) -> etree._Element:
    """A copy of the key to which a pointer leads within the document."""
    wanted = pointer.get("URI", "").removeprefix("#")
    found = [one for one in root.iter(f"{XENC}EncryptedKey") if one.get("Id") == wanted]
    if pointer.get("Type") != algorithms.ENCRYPTED_KEY or len(found) != 1:
        raise Unsafe("The key lies elsewhere.")
    return copy.deepcopy(found[0])


def _one(parent: etree._Element, tag: str) -> etree._Element:
    found = parent.findall(tag)
    if len(found) != 1:
        raise Unsafe(f"There are {len(found)} of {tag}.")
    return found[0]


def _allow(element: etree._Element, allowed: frozenset[str]) -> None:
    if element.get("Algorithm") not in allowed:
        raise Unsafe(f"{element.get('Algorithm')} is not allowed.")
