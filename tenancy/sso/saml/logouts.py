"""Makes and reads the messages by which one side tells the other that somebody has signed out (SAML 2.0 Core, 3.7)."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from xml.etree.ElementTree import Element, SubElement, tostring

from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import bindings, configuration, metadata, times
from tenancy.sso.saml.algorithms import SAML, SAMLP
from tenancy.sso.saml.envelopes import parsed

FRESH = timedelta(minutes=10)  # since it was made, however long it says that it is valid
LONGEST_ID, LONGEST_SUBJECT, MOST_SESSIONS = 255, 1024, 100
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
RESPONDER = "urn:oasis:names:tc:SAML:2.0:status:Responder"
UNKNOWN = "urn:oasis:names:tc:SAML:2.0:status:UnknownPrincipal"
QUALIFIERS = ("Format", "NameQualifier", "SPNameQualifier")  # of a NameID, beside its text


@dataclass(frozen=True, slots=True)
class Logout:
    """What the identity provider asks for: the end of these sessions of somebody, or of all where none is named."""

    request_id: str
    subject: str
    sessions: tuple[str, ...]
    expires_at: datetime


def ask(provider: IdentityProvider, location: str, name: dict[str, str], session: str) -> tuple[str, str]:
    """The id of a request to sign somebody out, and the address that carries it. Raises configuration.ProgramMissing.

    `name` has the subject as `text`, and QUALIFIERS as they were asserted.
    """
    root = _message(provider, "LogoutRequest", location)
    about = {one: name[one] for one in QUALIFIERS if name.get(one)}
    SubElement(root, f"{SAML}NameID", about).text = name["text"]
    if session:
        SubElement(root, f"{SAMLP}SessionIndex").text = session
    return root.attrib["ID"], _sent(provider, location, bindings.REQUEST, root)


def answer(provider: IdentityProvider, location: str, request_id: str, status: str, relay_state: str) -> str:
    """The address that carries our answer to a request. Raises configuration.ProgramMissing."""
    root = _message(provider, "LogoutResponse", location)
    root.set("InResponseTo", request_id)
    outer = SubElement(
        SubElement(root, f"{SAMLP}Status"), f"{SAMLP}StatusCode", Value=SUCCESS if status == SUCCESS else RESPONDER
    )
    if status != SUCCESS:
        SubElement(outer, f"{SAMLP}StatusCode", Value=status)
    return _sent(provider, location, bindings.RESPONSE, root, relay_state)


def read_request(provider: IdentityProvider, *, query: str = "", posted: str = "") -> Logout:
    """What a signed request asks for, by its address or a form. Raises Refused, or configuration.ProgramMissing."""
    root = _read(provider, "LogoutRequest", bindings.REQUEST, query, posted)
    subject = (root.findtext(f"{SAML}NameID") or "").strip()
    if not 0 < len(subject) <= LONGEST_SUBJECT:
        raise Refused("no_subject", "The request has no NameID that can be read.")
    sessions = tuple((one.text or "").strip() for one in root.findall(f"{SAMLP}SessionIndex"))
    if len(sessions) > MOST_SESSIONS or not all(sessions):
        raise Refused("malformed", "It names no session, or too many.")
    return Logout(root.attrib["ID"], subject, sessions, _fresh_until(root))


def read_answer(provider: IdentityProvider, *, query: str = "", posted: str = "") -> tuple[str, bool]:
    """Which request of ours is answered, and whether somebody is signed out there, too. Raises as `read_request`."""
    root = _read(provider, "LogoutResponse", bindings.RESPONSE, query, posted)
    _fresh_until(root)
    code = root.find(f"{SAMLP}Status/{SAMLP}StatusCode")
    return root.get("InResponseTo", ""), code is not None and code.get("Value") == SUCCESS


def _read(provider: IdentityProvider, kind: str, field: str, query: str, posted: str) -> Element:
    """The message, once it is signed, the provider's, and for us."""
    ours = configuration.logout_post_url(provider.pk) if posted else configuration.logout_url(provider.pk)
    if posted:
        raw = bindings.posted(posted)
        root = parsed(raw)
        _check_signature(provider, kind, raw)
    else:
        raw = bindings.message(query, field, metadata.keys(provider.metadata))
        root = parsed(raw)
    if root.tag != f"{SAMLP}{kind}" or root.get("Version") != "2.0":
        raise Refused("malformed", f"It is a {root.tag[:200]}.")
    issuer = (root.findtext(f"{SAML}Issuer") or "").strip()
    if issuer != provider.entity_id:
        raise Refused("issuer", issuer[:200] or "none")
    if root.get("Destination") != ours:  # what is signed must name one
        raise Refused("recipient", f"Destination is {root.get('Destination', 'none')[:200]}.")
    if not 0 < len(root.get("ID", "")) <= LONGEST_ID:
        raise Refused("malformed", f"An ID has 1 to {LONGEST_ID} characters.")
    return root


def _check_signature(provider: IdentityProvider, kind: str, raw: bytes) -> None:
    security = configuration.client(provider).sec
    check = {"LogoutRequest": security.correctly_signed_logout_request}.get(
        kind, security.correctly_signed_logout_response
    )
    try:
        check(raw, must=True)
    except Exception as failure:  # pysaml2 raises whatever it stumbles over
        raise Refused("signature", f"{type(failure).__name__}: {failure}") from failure


def _fresh_until(root: Element) -> datetime:
    """Until when the message may come. Raises Refused where that is over, or its clock is another."""
    now, skew = datetime.now(UTC), timedelta(seconds=configuration.CLOCK_SKEW)
    try:
        made = times.moment(root.get("IssueInstant", ""))
        ends = times.moment(said) if (said := root.get("NotOnOrAfter")) else made + FRESH
        ends = min(ends, made + FRESH) + skew
    except (ValueError, OverflowError):
        raise Refused("malformed", "The message does not say when it was made.") from None
    if made > now + skew or ends <= now:
        raise Refused("expired", f"It was made at {made:%Y-%m-%d %H:%M:%S} UTC.")
    return ends


def _message(provider: IdentityProvider, kind: str, location: str) -> Element:
    root = Element(
        f"{SAMLP}{kind}",
        ID=f"_{uuid.uuid4().hex}",
        Version="2.0",
        IssueInstant=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        Destination=location,
    )
    SubElement(root, f"{SAML}Issuer").text = configuration.entity_id(provider.pk)
    return root


def _sent(provider: IdentityProvider, location: str, field: str, root: Element, relay_state: str = "") -> str:
    xml = tostring(root, encoding="unicode")
    return bindings.address(location, field, xml, configuration.signer(provider), relay_state)
