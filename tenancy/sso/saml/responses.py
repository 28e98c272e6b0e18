"""Reads what an identity provider asserts, and believes nothing that is not signed, for us, now, and complete.

pysaml2 verifies signatures, times and the audience. What it leaves open is closed here: measured, it let in a wrong
recipient, a missing audience, another issuer, weak algorithms and the same answer twice.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import configuration, times
from tenancy.sso.saml.envelopes import Envelope, open_envelope, parsed
from tenancy.sso.saml.requests import check_valid

BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
LONGEST_VALIDITY = timedelta(days=1)  # so long an assertion must be remembered, lest it count again
# Of an encrypted answer, what may be said of a text that nobody has signed
VEILED = frozenset(
    {"malformed", "forbidden_content", "weak_algorithm", "signature", "decryption", "issuer", "confirmation"}
)
LONGEST_SUBJECT, LONGEST_ID = 1024, 255
MOST_ATTRIBUTES, MOST_VALUES, LONGEST_VALUE = 100, 1_000, 500
# pysaml2's exceptions by name, and what they mean; importing them would load all of it
MEANINGS = {
    "ResponseLifetimeExceed": "expired",
    "ToEarly": "expired",
    "UnsolicitedResponse": "unsolicited",
    "MissingKey": "issuer",
    "DecryptError": "decryption",
    "SignatureError": "signature",
    "SigverError": "signature",
    "XmlsecError": "signature",
    "CertificateError": "signature",
}


@dataclass(frozen=True, slots=True)
class Asserted:
    """What is believed: about whom, for which request of ours (none: unsolicited), and until when it may be used."""

    subject: str
    in_response_to: str
    assertion_id: str
    expires_at: datetime
    attributes: dict[str, list[str]] = field(default_factory=dict)
    name_id: dict[str, str] | None = None  # the attributes of SAML's NameID beside its text
    session_index: str = ""  # what the identity provider calls its own session
    session_ends_at: datetime | None = None  # how long it lets a session last, if it says so


def read(provider: IdentityProvider, posted: str) -> Asserted:
    """What a posted `SAMLResponse` asserts. Raises Refused, or configuration.ProgramMissing.

    It asks neither the network nor the database. Whether somebody waits for `in_response_to`, and whether the assertion
    was used before, is the caller's to find out.
    """
    envelope = open_envelope(posted)
    check_valid(provider)
    if not envelope.in_response_to and not provider.is_unsolicited_allowed:
        raise Refused("unsolicited")
    if not (envelope.is_signed or envelope.is_inner_signed or envelope.is_encrypted):
        raise Refused("signature", "Nothing is signed.")
    if envelope.destination and envelope.destination != configuration.acs_url(provider.pk):
        raise Refused("recipient", f"Destination is {envelope.destination}.")
    return _checked(provider, envelope, _opened(provider, envelope))


def _opened(provider: IdentityProvider, envelope: Envelope) -> Any:
    """pysaml2's response, whose every signature is good; what was hidden is held to the same rules.

    Of an encrypted answer one reason is told, whatever is wrong before its signature is good: whoever changes a cipher
    text and asks again must not learn what became of it.
    """
    try:
        response = _verified(provider, envelope)
        if envelope.is_encrypted:
            parsed(_bytes(response.xmlstr))
            if not response.assertions:
                raise Refused("decryption", "There is no assertion.")
    except Refused as refusal:
        if envelope.is_encrypted and refusal.code in VEILED:
            raise Refused("decryption", f"{refusal.code}: {refusal.detail}") from refusal
        raise
    return response


def _verified(provider: IdentityProvider, envelope: Envelope) -> Any:
    """pysaml2's response, whose every signature is good."""
    client = configuration.client(provider)
    client.want_response_signed = envelope.is_signed
    client.want_assertions_signed = envelope.is_inner_signed or not envelope.is_signed
    # who waits for the answer is known to the browser alone
    waiting = {envelope.in_response_to: "/"} if envelope.in_response_to else {}
    own = {"entity_id": configuration.acs_url(provider.pk)}
    try:
        response = client.parse_authn_request_response(
            envelope.encoded, configuration.POST, outstanding=waiting, conv_info=own
        )
    except Exception as failure:  # it raises whatever it stumbles over, AttributeError included
        raise Refused(_meaning(failure), f"{type(failure).__name__}: {failure}") from failure
    if response is None:
        raise Refused("malformed", "pysaml2 gives no reason.")
    return response


def _meaning(failure: Exception) -> str:
    names = [one.__name__ for one in type(failure).__mro__]
    if "StatusError" in names:
        return "status"
    if found := next((MEANINGS[name] for name in names if name in MEANINGS), None):
        return found
    text = str(failure)
    if "AudienceRestriction" in text:
        return "audience"
    if "recipient" in text:
        return "recipient"
    if "Condition not OK" in text:
        return "expired"
    return "confirmation" if "confirmation" in text or "subject" in text.lower() else "malformed"


def _checked(provider: IdentityProvider, envelope: Envelope, response: Any) -> Asserted:
    if len(response.assertions) != 1:
        raise Refused("forbidden_content", f"There are {len(response.assertions)} assertions.")
    [assertion] = response.assertions
    if not (envelope.is_signed or assertion.signature):
        raise Refused("signature", "Neither the response nor the assertion is signed.")
    outer = _text(response.response.issuer)
    if _text(assertion.issuer) != provider.entity_id or (outer and outer != provider.entity_id):
        raise Refused("issuer", f"{outer or 'none'} and {_text(assertion.issuer) or 'none'}")
    if not assertion.id or max(len(assertion.id), len(envelope.in_response_to)) > LONGEST_ID:
        raise Refused("malformed", f"An ID has 1 to {LONGEST_ID} characters.")
    ends = [_check_conditions(provider, assertion.conditions), _check_confirmation(provider, envelope, assertion)]
    if min(ends) > timezone.now() + LONGEST_VALIDITY:
        raise Refused("valid_too_long", f"Until {min(ends):%Y-%m-%d %H:%M} UTC.")
    name = assertion.subject.name_id
    subject = _text(name)
    if not subject or len(subject) > LONGEST_SUBJECT or name.format == TRANSIENT:
        raise Refused("no_subject", "The NameID is empty." if not subject else str(name.format))
    if not assertion.authn_statement:
        raise Refused("confirmation", "There is no AuthnStatement.")
    return Asserted(
        subject=subject,
        in_response_to=envelope.in_response_to,
        assertion_id=assertion.id,
        expires_at=min(ends) + timedelta(seconds=configuration.CLOCK_SKEW),
        name_id=_qualifiers(name),
        attributes=_attributes(assertion),
        session_index=next((one.session_index for one in assertion.authn_statement if one.session_index), "")[
            :LONGEST_ID
        ],
        session_ends_at=_session_end(assertion),
    )


def _qualifiers(name: Any) -> dict[str, str]:
    said = {"Format": name.format, "NameQualifier": name.name_qualifier, "SPNameQualifier": name.sp_name_qualifier}
    return {one: value[:LONGEST_SUBJECT] for one, value in said.items() if value}


def _session_end(assertion: Any) -> datetime | None:
    """Until when the provider lets a session last, if it says so (SAML 2.0 Core, 2.7.2)."""
    said = [one.session_not_on_or_after for one in assertion.authn_statement if one.session_not_on_or_after]
    return min(map(_moment, said), default=None)


def _check_conditions(provider: IdentityProvider, conditions: Any) -> datetime:
    """Until when they hold (SAML 2.0 Core, 2.5.1)."""
    restrictions = conditions.audience_restriction if conditions else []
    if not restrictions:
        raise Refused("audience", "No audience is named.")
    ours = configuration.entity_id(provider.pk)
    for one in restrictions:
        audiences = [_text(audience) for audience in one.audience]
        if ours not in audiences:
            raise Refused("audience", f"{', '.join(audiences)} instead of {ours}")
    if not conditions.not_on_or_after:
        raise Refused("expired", "It has no end of validity.")
    return _moment(conditions.not_on_or_after)


def _check_confirmation(provider: IdentityProvider, envelope: Envelope, assertion: Any) -> datetime:
    """Until when it may be delivered (SAML 2.0 Profiles, 4.1.4.2)."""
    confirmations = assertion.subject.subject_confirmation
    if not confirmations or any(one.method != BEARER for one in confirmations):
        raise Refused("confirmation", ", ".join(str(one.method) for one in confirmations) or "There is none.")
    ends = []
    for one in confirmations:
        data = one.subject_confirmation_data
        if data is None or data.recipient != configuration.acs_url(provider.pk):
            raise Refused("recipient", str(data.recipient if data else "none"))
        if (data.in_response_to or "") != envelope.in_response_to:
            raise Refused("confirmation", "The assertion answers another request than the response.")
        if not data.not_on_or_after or data.not_before:
            raise Refused("confirmation", "A bearer confirmation has an end of validity, and no beginning.")
        ends.append(_moment(data.not_on_or_after))
    return min(ends)


def _attributes(assertion: Any) -> dict[str, list[str]]:
    """By the names that the identity provider uses; values are cut, and so are attributes beyond the first hundred."""
    found: dict[str, list[str]] = {}
    for statement in assertion.attribute_statement:
        for one in statement.attribute[:MOST_ATTRIBUTES]:
            values = [(value.text or "").strip()[:LONGEST_VALUE] for value in one.attribute_value]
            if one.name and one.name not in found:
                found[one.name[:LONGEST_VALUE]] = [value for value in values if value][:MOST_VALUES]
    return found


def _moment(text: str) -> datetime:
    try:
        return times.moment(text)
    except ValueError:
        raise Refused("malformed", f"{text} is no time.") from None


def _text(element: Any) -> str:
    return (element.text or "").strip() if element is not None else ""


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
