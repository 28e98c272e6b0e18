"""A SAML 2.0 identity provider for tests: it says whatever it is told to, signed by xmlsec1 as real ones sign."""

import base64
import shutil
import subprocess
import tempfile
import uuid
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from tenancy.sso.models import IdentityProvider
from tenancy.sso.saml import configuration

NAMESPACES = 'xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"'
ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion:Assertion"
ENTITY = "urn:oasis:names:tc:SAML:2.0:metadata:EntityDescriptor"
RESPONSE = "urn:oasis:names:tc:SAML:2.0:protocol:Response"
EMAIL_FORMAT = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
RSA_SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
SHA256, SHA1 = "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1"
OAEP = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"


def new_id() -> str:
    """An id as XML wants it."""
    return f"_{uuid.uuid4().hex}"


def at(seconds: float) -> str:
    """So many seconds from now, as SAML writes it."""
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Said:
    """What an answer says; None leaves an attribute or element out. `extra` goes into the assertion."""

    issuer: str | None
    response_issuer: str | None
    destination: str | None
    recipient: str | None
    audience: str | None
    in_response_to: str | None
    subject: str
    subject_format: str = EMAIL_FORMAT
    confirmed_for: str | None = ""  # the request that the confirmation names; '' is the response's
    method: str = BEARER
    status: str = SUCCESS
    not_before: float | None = -30
    not_on_or_after: float | None = 300
    confirmed_until: float | None = 300
    attributes: dict[str, list[str]] = field(default_factory=dict)
    assertion_id: str = field(default_factory=new_id)
    response_id: str = field(default_factory=new_id)
    session_until: float | None = None
    has_statement: bool = True
    has_conditions: bool = True

    def but(self, **other: Any) -> Self:
        """The same, but for this."""
        return replace(self, **other)


class SamlProvider:
    """An identity provider with a key of its own."""

    def __init__(self, entity_id: str = "") -> None:
        self.entity_id = entity_id or f"https://idp.example.com/{uuid.uuid4().hex}"
        self.key, self.certificate = pair()

    @property
    def program(self) -> str:
        """What signs and encrypts."""
        found = shutil.which("xmlsec1")
        if found is None:
            pytest.skip("xmlsec1 is not here (Debian: apt-get install xmlsec1)")
        return found

    def metadata(
        self,
        *more: str,
        location: str = "https://idp.example.com/sso",
        logout: str = "",
        head: str = "",
        signed_by: "SamlProvider | None" = None,
    ) -> str:
        """Its metadata, with its certificate and others; `logout` is where logouts go, `head` more attributes.

        `signed_by` signs all of it, which has the ID `_all` then.
        """
        keys = "".join(
            '<md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>'
            f"{_bare(one)}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            for one in (self.certificate, *more)
        )
        ends = f'<md:SingleLogoutService Binding="{configuration.REDIRECT}" Location="{logout}"/>' if logout else ""
        text = (
            '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" '
            f'xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="{self.entity_id}"{head}>'
            '<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">'
            f'{keys}{ends}<md:SingleSignOnService Binding="{configuration.REDIRECT}" Location="{location}"/>'
            "</md:IDPSSODescriptor></md:EntityDescriptor>"
        )
        if signed_by is None:
            return text
        before = text.index("<md:IDPSSODescriptor")
        return signed_by.sign(f"{text[:before]}{template('_all')}{text[before:]}", ENTITY)

    def says(self, provider: IdentityProvider, subject: str, in_response_to: str | None) -> Said:
        """A good answer about somebody, for this provider's row."""
        return Said(
            issuer=self.entity_id,
            response_issuer=self.entity_id,
            destination=configuration.acs_url(provider.pk),
            recipient=configuration.acs_url(provider.pk),
            audience=configuration.entity_id(provider.pk),
            in_response_to=in_response_to,
            subject=subject,
        )

    def answer(self, said: Said, *, signs: str = "assertion") -> str:
        """As it is posted; `signs` is assertion, response, both or neither."""
        assertion = assertion_of(said)
        if signs in {"assertion", "both"}:
            assertion = self.signed(assertion, said.assertion_id, ASSERTION)
        response = response_of(said, assertion)
        if signs in {"response", "both"}:
            response = self.signed(response, said.response_id, RESPONSE)
        return posted(response)

    def logout(self, provider: IdentityProvider, subject: str, *sessions: str, **other: str | None) -> str:
        """An unsigned LogoutRequest; `other` replaces or leaves out attributes, `Issuer` among them."""
        head = {
            "ID": new_id(),
            "Version": "2.0",
            "IssueInstant": at(0),
            "Destination": configuration.logout_url(provider.pk),
            "Issuer": self.entity_id,
        } | other
        issuer = head.pop("Issuer")
        named = "".join(f"<samlp:SessionIndex>{one}</samlp:SessionIndex>" for one in sessions)
        return (
            f"<samlp:LogoutRequest {NAMESPACES}{_attributes(**head)}>{_issuer(issuer)}"
            f"<saml:NameID>{subject}</saml:NameID>{named}</samlp:LogoutRequest>"
        )

    def logout_answer(self, provider: IdentityProvider, request_id: str, status: str = SUCCESS) -> str:
        """An unsigned LogoutResponse."""
        head = _attributes(
            ID=new_id(),
            Version="2.0",
            IssueInstant=at(0),
            Destination=configuration.logout_url(provider.pk),
            InResponseTo=request_id,
        )
        return (
            f"<samlp:LogoutResponse {NAMESPACES}{head}>{_issuer(self.entity_id)}"
            f'<samlp:Status><samlp:StatusCode Value="{status}"/></samlp:Status></samlp:LogoutResponse>'
        )

    def query(self, xml: str, kind: str = "SAMLRequest", *, state: str = "", algorithm: str = RSA_SHA256) -> str:
        """The query of an address that carries a message, signed; written apart from ours, as others write it."""
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        fields = {kind: base64.b64encode(packer.compress(xml.encode()) + packer.flush()), "RelayState": state.encode()}
        text = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items() if value)
        text += f"&SigAlg={quote(algorithm, safe='')}"
        key = serialization.load_pem_private_key(self.key.encode(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}&Signature={quote(base64.b64encode(signature), safe='')}"

    def signed(
        self, xml: str, of: str, node: str, *, algorithm: str = RSA_SHA256, digest: str = SHA256, key: str = ""
    ) -> str:
        """The document with a signature over the element `of`, behind that element's issuer."""
        before, issuer, after = xml.partition("</saml:Issuer>")
        made = template(of, algorithm=algorithm, digest=digest)
        return self.sign(f"{before}{issuer}{made}{after}", node, key=key)

    def sign(self, xml: str, node: str, *, key: str = "") -> str:
        """The document, whose template of a signature is filled in."""
        with tempfile.TemporaryDirectory() as folder:
            source, secret = Path(folder, "in.xml"), Path(folder, "key.pem")
            source.write_text(xml)
            secret.write_text(key or self.key)
            command = [self.program, "--sign", "--privkey-pem", str(secret), "--id-attr:ID", node, str(source)]
            made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return made.removeprefix('<?xml version="1.0"?>\n').strip()

    def encrypted(
        self, provider: IdentityProvider, assertion: str, *, algorithm: str = "aes256-cbc", transport: str = OAEP
    ) -> str:
        """An EncryptedAssertion for our certificate."""
        kinds = {"aes256-cbc": "aes-256", "tripledes-cbc": "des-192"}
        template = (
            '<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" '
            'xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Type="http://www.w3.org/2001/04/xmlenc#Element">'
            f'<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#{algorithm}"/><ds:KeyInfo>'
            f'<xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="{transport}"/>'
            "<ds:KeyInfo><ds:X509Data/></ds:KeyInfo><xenc:CipherData><xenc:CipherValue/></xenc:CipherData>"
            "</xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedData>"
        )
        with tempfile.TemporaryDirectory() as folder:
            form, data, ours = (Path(folder, name) for name in ("template.xml", "data.xml", "ours.pem"))
            form.write_text(template)
            data.write_text(assertion)
            ours.write_text(provider.certificate)
            command = [self.program, "--encrypt", "--pubkey-cert-pem", str(ours), "--session-key", kinds[algorithm]]
            command += ["--xml-data", str(data), str(form)]
            made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        hidden = made.removeprefix('<?xml version="1.0"?>\n').strip()
        return f"<saml:EncryptedAssertion>{hidden}</saml:EncryptedAssertion>"


def template(of: str, *, algorithm: str = RSA_SHA256, digest: str = SHA256) -> str:
    """A signature over the element `of` that is still to be made."""
    return (
        '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>'
        '<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
        f'<ds:SignatureMethod Algorithm="{algorithm}"/><ds:Reference URI="#{of}"><ds:Transforms>'
        '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
        '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/></ds:Reference></ds:SignedInfo>'
        "<ds:SignatureValue/></ds:Signature>"
    )


def assertion_of(said: Said) -> str:
    """The unsigned assertion."""
    waited = said.in_response_to if said.confirmed_for == "" else said.confirmed_for
    data = _attributes(
        Recipient=said.recipient,
        NotOnOrAfter=None if said.confirmed_until is None else at(said.confirmed_until),
        InResponseTo=waited,
    )
    conditions = ""
    if said.has_conditions:
        limits = _attributes(
            NotBefore=None if said.not_before is None else at(said.not_before),
            NotOnOrAfter=None if said.not_on_or_after is None else at(said.not_on_or_after),
        )
        restriction = (
            f"<saml:AudienceRestriction><saml:Audience>{said.audience}</saml:Audience></saml:AudienceRestriction>"
            if said.audience
            else ""
        )
        conditions = f"<saml:Conditions{limits}>{restriction}</saml:Conditions>"
    ends = "" if said.session_until is None else f' SessionNotOnOrAfter="{at(said.session_until)}"'
    statement = (
        f'<saml:AuthnStatement AuthnInstant="{at(0)}" SessionIndex="{new_id()}"{ends}><saml:AuthnContext>'
        "<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
        "</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
        if said.has_statement
        else ""
    )
    attributes = "".join(
        f'<saml:Attribute Name="{name}" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic">'
        + "".join(
            '<saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" '
            f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">{value}</saml:AttributeValue>'
            for value in values
        )
        + "</saml:Attribute>"
        for name, values in said.attributes.items()
    )
    if attributes:
        attributes = f"<saml:AttributeStatement>{attributes}</saml:AttributeStatement>"
    return (
        f'<saml:Assertion {NAMESPACES} ID="{said.assertion_id}" Version="2.0" IssueInstant="{at(0)}">'
        f"{_issuer(said.issuer)}<saml:Subject>"
        f'<saml:NameID Format="{said.subject_format}">{said.subject}</saml:NameID>'
        f'<saml:SubjectConfirmation Method="{said.method}"><saml:SubjectConfirmationData{data}/>'
        f"</saml:SubjectConfirmation></saml:Subject>{conditions}{statement}{attributes}</saml:Assertion>"
    )


def response_of(said: Said, inside: str) -> str:
    """The unsigned response around an assertion."""
    head = _attributes(Destination=said.destination, InResponseTo=said.in_response_to)
    return (
        f'<samlp:Response {NAMESPACES} ID="{said.response_id}" Version="2.0" IssueInstant="{at(0)}"{head}>'
        f"{_issuer(said.response_issuer)}"
        f'<samlp:Status><samlp:StatusCode Value="{said.status}"/></samlp:Status>{inside}</samlp:Response>'
    )


def posted(xml: str) -> str:
    """As a browser posts it."""
    return base64.b64encode(xml.encode()).decode()


def _issuer(name: str | None) -> str:
    return "" if name is None else f"<saml:Issuer>{name}</saml:Issuer>"


def _attributes(**values: str | None) -> str:
    return "".join(f' {name}="{value}"' for name, value in values.items() if value is not None)


def _bare(certificate: str) -> str:
    return "".join(line for line in certificate.splitlines() if "CERTIFICATE" not in line)


def pair(*, bits: int = 2048, days: int = 365) -> tuple[str, str]:
    """A private key and its certificate, as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp.example.com")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
    certificate = builder.not_valid_after(now + timedelta(days=days)).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode()
