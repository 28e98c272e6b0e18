"""The backend in this process believes and opens nothing that its rules do not name, whatever a document says."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tenancy.sso.models import IdentityProvider
from tenancy.sso.saml.signatures import InProcess, Unsafe
from tests.identity_provider import ASSERTION, RESPONSE, RSA_SHA1, SHA1, SamlProvider, new_id, pair

EXTRA = 'xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:ds="http://www.w3.org/2000/09/xmldsig#"'
HMAC = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"
XPATH = '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116"><ds:XPath>1=1</ds:XPath></ds:Transform>'
XSLT = '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"/>'
ID = new_id()
SIGNATURE = re.compile(r"<ds:Signature .*?</ds:Signature>", re.DOTALL)


@pytest.fixture(scope="module")
def signed(idp: SamlProvider) -> str:
    """An element with a good signature."""
    xml = f'<saml:Assertion {EXTRA} ID="{ID}"><saml:Issuer>x</saml:Issuer><saml:Advice/></saml:Assertion>'
    return idp.signed(xml, ID, ASSERTION)


def holds(document: str, certificate: str, tmp_path: Path, name: str = ASSERTION) -> bool:
    """What the backend says."""
    file = tmp_path / "idp.crt"
    file.write_text(certificate)
    return InProcess({}).validate_signature(document, str(file), "pem", name, ID)


def put(old: str, new: str) -> Callable[[str], str]:
    def change(document: str) -> str:
        changed = document.replace(old, new, 1)
        assert changed != document
        return changed

    return change


CHANGES: dict[str, Callable[[str], str]] = {
    "SHA-1": put("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", RSA_SHA1),
    "HMAC": put("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", HMAC),
    "a digest by SHA-1": put("http://www.w3.org/2001/04/xmlenc#sha256", SHA1),
    "an inclusive form": put(
        "http://www.w3.org/2001/10/xml-exc-c14n#", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
    ),
    "no enveloped transform": put(
        '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>', ""
    ),
    "XPath": put("<ds:Transforms>", f"<ds:Transforms>{XPATH}"),
    "XSLT": put("<ds:Transforms>", f"<ds:Transforms>{XSLT}"),
    "the whole document": put(f'URI="#{ID}"', 'URI=""'),
    "a file": put(f'URI="#{ID}"', 'URI="file:///etc/hostname"'),
    "an XPointer": put(f'URI="#{ID}"', f"URI=\"#xpointer(id('{ID}'))\""),
    "two references": lambda xml: re.sub(r"(<ds:Reference .*</ds:Reference>)", r"\1\1", xml, count=1, flags=re.DOTALL),
    "two signatures": lambda xml: SIGNATURE.sub(lambda found: found[0] * 2, xml, count=1),
    "an object": put("</ds:Signature>", "<ds:Object/></ds:Signature>"),
    "no signature of its own": lambda xml: SIGNATURE.sub("", xml).replace(
        "<saml:Advice/>", f"<saml:Advice>{found[0] if (found := SIGNATURE.search(xml)) else ''}</saml:Advice>"
    ),
    "the ID twice": put("<saml:Advice/>", f'<saml:Advice ID="{ID}"/>'),
    "the ID twice, by xml:id": put("<saml:Advice/>", f'<saml:Advice xml:id="{ID}"/>'),
    "a document type": lambda xml: f"<!DOCTYPE x []>{xml}",
    "an entity": lambda xml: f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>{xml}',
    "no XML": lambda xml: xml[:-9],
    "another text": put("<saml:Issuer>x", "<saml:Issuer>y"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_signature_that_is_not_as_saml_has_it_does_not_hold(
    what: str, idp: SamlProvider, signed: str, tmp_path: Path
) -> None:
    assert not holds(CHANGES[what](signed), idp.certificate, tmp_path)


def test_a_good_signature_holds_for_its_own_element_and_key_alone(
    idp: SamlProvider, signed: str, tmp_path: Path
) -> None:
    assert holds(signed, idp.certificate, tmp_path)
    assert not holds(signed, idp.certificate, tmp_path, RESPONSE)
    assert not holds(signed, pair()[1], tmp_path)


@pytest.mark.parametrize("certificate", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_certificate_that_is_none_holds_nothing(certificate: str, signed: str, tmp_path: Path) -> None:
    assert not holds(signed, certificate, tmp_path)


def test_what_we_sign_holds(idp: SamlProvider, signed: str, tmp_path: Path) -> None:
    blank = re.sub(r"(<ds:(DigestValue|SignatureValue)>)[^<]*", r"\1", signed)
    backend = InProcess({"ours": idp.key.encode()})
    made = backend.sign_statement(blank, ASSERTION, "ours", ID)
    assert holds(made, idp.certificate, tmp_path)
    with pytest.raises(Unsafe):
        backend.sign_statement(SIGNATURE.sub("", signed), ASSERTION, "ours", ID)


ENC = "http://www.w3.org/2001/04/xmlenc#"
HIDDEN: dict[str, Callable[[str], str]] = {
    "3DES": put(f"{ENC}aes256-cbc", f"{ENC}tripledes-cbc"),
    "RSA-1.5": put(f"{ENC}rsa-oaep-mgf1p", f"{ENC}rsa-1_5"),
    "a digest by MD5": put(
        "rsa-oaep-mgf1p", 'rsa-oaep-mgf1p"><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#md5"/></x'
    ),
    "bytes": put(' Type="http://www.w3.org/2001/04/xmlenc#Element"', ""),
    "a cipher elsewhere": lambda xml: re.sub(
        r"<xenc:CipherValue>[^<]*</xenc:CipherValue>(?!.*CipherValue)",
        '<xenc:CipherReference URI="http://127.0.0.1:{port}/"/>',
        xml,
        flags=re.DOTALL,
    ),
    "a key elsewhere": lambda xml: re.sub(
        r"<xenc:EncryptedKey>.*</xenc:EncryptedKey>",
        f'<ds:RetrievalMethod Type="{ENC}EncryptedKey" URI="http://127.0.0.1:{{port}}/"/>',
        xml,
        flags=re.DOTALL,
    ),
    "no key": lambda xml: re.sub(r"<ds:KeyInfo>.*</ds:KeyInfo>", "", xml, flags=re.DOTALL),
    "nothing encrypted": lambda xml: "<a/>",
    "no XML": lambda xml: xml[:-4],
    "another cipher text": lambda xml: re.sub(r"(.*<xenc:CipherValue>)....", r"\1AAAA", xml, flags=re.DOTALL),
}


@pytest.fixture(scope="module")
def ours() -> IdentityProvider:
    """A row with a key of ours, in clear."""
    key, certificate = pair()
    return IdentityProvider(key=key.encode(), certificate=certificate)


@pytest.fixture(scope="module")
def hidden(idp: SamlProvider, ours: IdentityProvider) -> str:
    """Something encrypted for us."""
    inside = idp.encrypted(ours, f"<saml:Assertion {EXTRA}/>")
    return f"<saml:Advice {EXTRA}>{inside}</saml:Advice>"


@pytest.mark.parametrize("what", HIDDEN)
def test_what_is_not_encrypted_as_it_may_be_is_not_opened_and_nobody_is_asked(
    what: str, ours: IdentityProvider, hidden: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        document = HIDDEN[what](hidden).replace("{port}", str(server.getsockname()[1]))
        assert InProcess({"ours": bytes(ours.key)}).decrypt(document, "ours") == ""
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()


def test_what_is_encrypted_for_us_is_opened_wherever_in_the_document_its_key_stands(
    ours: IdentityProvider, hidden: str
) -> None:
    backend = InProcess({"ours": bytes(ours.key), "other": pair()[0].encode()})
    assert "<saml:Assertion" in backend.decrypt(hidden, "ours")
    assert backend.decrypt(hidden, "other") == ""
    found = re.search(r"<xenc:EncryptedKey>.*</xenc:EncryptedKey>", hidden, re.DOTALL)
    assert found
    pointer = f'<ds:RetrievalMethod Type="{ENC}EncryptedKey" URI="#k"/>'
    key = found[0].replace(
        "<xenc:EncryptedKey>", '<xenc:EncryptedKey xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" Id="k">', 1
    )
    beside = hidden.replace(found[0], pointer).replace("</saml:EncryptedAssertion>", f"{key}</saml:EncryptedAssertion>")
    assert "<saml:Assertion" in backend.decrypt(beside, "ours")
