"""Every known way to be somebody else by SAML is refused, leaves nobody signed in, and is in the audit log.

Both backends are asked, and must say the same.
"""

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tenancy.sso.models import ExternalIdentity, IdentityProvider, SignIn
from tenancy.sso.providers import sign_in
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import responses
from tests.factories import Tenant
from tests.identity_provider import (
    ASSERTION,
    RESPONSE,
    RSA_SHA1,
    SHA1,
    Said,
    SamlProvider,
    assertion_of,
    new_id,
    posted,
    response_of,
)
from tests.tenancy.sso.saml.conftest import connect

Attack = Callable[[SamlProvider, IdentityProvider, Said], str]
SIGNATURE = re.compile(r"<ds:Signature.*?</ds:Signature>", re.DOTALL)
WITHIN = "</ds:Signature>"


def evil(said: Said) -> str:
    """The assertion that an attacker would like to be believed."""
    return assertion_of(said.but(subject=f"boss@{said.subject.partition('@')[2]}", assertion_id=new_id()))


def wrapped(make: Callable[[str, str, str, Said], str], *, signs: str = "assertion") -> Attack:
    """An attack that moves signed things: it gets the signed part, its signature, and the evil assertion."""

    def attack(idp: SamlProvider, row: IdentityProvider, said: Said) -> str:
        if signs == "assertion":
            whole = idp.signed(assertion_of(said), said.assertion_id, ASSERTION)
        else:
            whole = idp.signed(response_of(said, assertion_of(said)), said.response_id, RESPONSE)
        found = SIGNATURE.search(whole)
        assert found
        return posted(make(whole, found[0], evil(said), said))

    return attack


def behind_issuer(xml: str, what: str) -> str:
    """The element with something behind its own issuer."""
    return xml.replace("</saml:Issuer>", f"</saml:Issuer>{what}", 1)


WRAPPINGS: dict[str, Attack] = {
    "XSW1": wrapped(
        lambda whole, sig, bad, said: behind_issuer(
            response_of(said.but(response_id=new_id()), bad), sig.replace(WITHIN, f"{whole.replace(sig, '')}{WITHIN}")
        ),
        signs="response",
    ),
    "XSW2": wrapped(
        lambda whole, sig, bad, said: behind_issuer(
            response_of(said.but(response_id=new_id()), bad), f"{whole.replace(sig, '')}{sig}"
        ),
        signs="response",
    ),
    "XSW3": wrapped(lambda whole, sig, bad, said: response_of(said, bad + whole)),
    "XSW4": wrapped(
        lambda whole, sig, bad, said: response_of(said, bad.replace("</saml:Assertion>", f"{whole}</saml:Assertion>"))
    ),
    "XSW5": wrapped(lambda whole, sig, bad, said: response_of(said, behind_issuer(bad, sig) + whole.replace(sig, ""))),
    "XSW6": wrapped(
        lambda whole, sig, bad, said: response_of(
            said, behind_issuer(bad, sig.replace(WITHIN, f"{whole.replace(sig, '')}{WITHIN}"))
        )
    ),
    "XSW7": wrapped(
        lambda whole, sig, bad, said: response_of(said, f"<samlp:Extensions>{bad}</samlp:Extensions>{whole}")
    ),
    "XSW8": wrapped(
        lambda whole, sig, bad, said: response_of(
            said,
            behind_issuer(bad, sig.replace(WITHIN, f"<ds:Object>{whole.replace(sig, '')}</ds:Object>{WITHIN}")),
        )
    ),
    "the evil one in the status": wrapped(
        lambda whole, sig, bad, said: response_of(said, whole).replace(
            "</samlp:Status>", f"<samlp:StatusDetail>{bad}</samlp:StatusDetail></samlp:Status>"
        )
    ),
    "the same id twice": wrapped(
        lambda whole, sig, bad, said: response_of(
            said, re.sub(r'ID="[^"]+"', f'ID="{said.assertion_id}"', bad, count=1) + whole
        )
    ),
}


def says(**other: object) -> Attack:
    """A well signed answer that says something wrong."""
    return lambda idp, row, said: idp.answer(said.but(**other), signs="both")


def rewritten(old: str, new: str) -> Attack:
    """A well signed answer in which somebody changed a text afterwards."""

    def attack(idp: SamlProvider, row: IdentityProvider, said: Said) -> str:
        xml = base64.b64decode(idp.answer(said, signs="both")).decode()
        return posted(xml.replace(old.replace("{subject}", said.subject), new))

    return attack


def by_another_key(idp: SamlProvider, row: IdentityProvider, said: Said) -> str:
    stranger = SamlProvider(idp.entity_id)
    return stranger.answer(said)


def with_its_own_certificate(idp: SamlProvider, row: IdentityProvider, said: Said) -> str:
    stranger = SamlProvider(idp.entity_id)
    xml = stranger.signed(assertion_of(said), said.assertion_id, ASSERTION)
    bare = "".join(line for line in stranger.certificate.splitlines() if "CERTIFICATE" not in line)
    info = f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{bare}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
    return posted(response_of(said, xml.replace("</ds:SignatureValue>", f"</ds:SignatureValue>{info}")))


def weakly(algorithm: str, digest: str) -> Attack:
    def attack(idp: SamlProvider, row: IdentityProvider, said: Said) -> str:
        xml = idp.signed(assertion_of(said), said.assertion_id, ASSERTION)
        xml = re.sub(r'(<ds:SignatureMethod Algorithm=")[^"]+', rf"\g<1>{algorithm}", xml)
        return posted(response_of(said, re.sub(r'(<ds:DigestMethod Algorithm=")[^"]+', rf"\g<1>{digest}", xml)))

    return attack


def encrypted(inner: Callable[[SamlProvider, Said], str], algorithm: str = "aes256-cbc") -> Attack:
    """What an assertion hides is held to the same rules."""
    return lambda idp, row, said: posted(response_of(said, idp.encrypted(row, inner(idp, said), algorithm=algorithm)))


def of_sha1(idp: SamlProvider, said: Said) -> str:
    xml = idp.signed(assertion_of(said), said.assertion_id, ASSERTION)
    return re.sub(r'(<ds:SignatureMethod Algorithm=")[^"]+', rf"\g<1>{RSA_SHA1}", xml)


def half_signed(change: Callable[[str], str]) -> Attack:
    """Both were signed; then one signature was cut out, or what it covers was changed."""
    return lambda idp, row, said: posted(change(base64.b64decode(idp.answer(said, signs="both")).decode()))


def raw(xml: str) -> Attack:
    return lambda idp, row, said: posted(xml)


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {n} "{f"&{p};" * 10}">' for p, n in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><samlp:Response xmlns:samlp='urn:oasis:names:tc:SAML:2.0:protocol'>&i;</samlp:Response>"
)
XXE = (
    '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    "<samlp:Response xmlns:samlp='urn:oasis:names:tc:SAML:2.0:protocol'>&f;</samlp:Response>"
)
REFUSED: dict[str, tuple[Attack, set[str]]] = {
    **{name: (attack, {"forbidden_content", "signature", "malformed"}) for name, attack in WRAPPINGS.items()},
    "nothing signed": (lambda idp, row, said: idp.answer(said, signs="neither"), {"signature"}),
    "encrypted, not signed": (encrypted(lambda idp, said: assertion_of(said)), {"decryption"}),
    "encrypted, weakly signed": (encrypted(of_sha1), {"decryption"}),
    "encrypted with 3DES": (
        encrypted(lambda idp, said: idp.signed(assertion_of(said), said.assertion_id, ASSERTION), "tripledes-cbc"),
        {"weak_algorithm"},
    ),
    "encrypted with RSA-1.5": (
        lambda idp, row, said: posted(
            response_of(
                said,
                idp.encrypted(
                    row,
                    idp.signed(assertion_of(said), said.assertion_id, ASSERTION),
                    transport="http://www.w3.org/2001/04/xmlenc#rsa-1_5",
                ),
            )
        ),
        {"weak_algorithm"},
    ),
    "the response's signature broken": (
        half_signed(lambda xml: xml.replace("<samlp:Status>", "<samlp:Status >").replace('Value="', 'Value=" ', 1)),
        {"signature"},
    ),
    "the assertion's signature moved to the response": (
        wrapped(lambda whole, sig, bad, said: behind_issuer(response_of(said, whole.replace(sig, "")), sig)),
        {"signature"},
    ),
    "the assertion's signature cut out": (
        half_signed(lambda xml: xml[: (i := xml.rindex("<ds:Signature "))] + xml[xml.index(WITHIN, i) + 15 :]),
        {"signature"},
    ),
    "two responses' signatures": (
        wrapped(lambda whole, sig, bad, said: behind_issuer(whole, sig), signs="response"),
        {"signature", "malformed"},
    ),
    "another key": (by_another_key, {"signature"}),
    "a certificate of its own": (with_its_own_certificate, {"signature"}),
    "SHA-1 signature": (weakly(RSA_SHA1, SHA1), {"weak_algorithm"}),
    "SHA-1 digest": (weakly("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", SHA1), {"weak_algorithm"}),
    "HMAC": (weakly("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", SHA1), {"weak_algorithm"}),
    "no algorithm": (weakly("", ""), {"weak_algorithm"}),
    "another subject": (rewritten("{subject}", "boss@example.com"), {"signature"}),
    "a subject rewritten": (rewritten("</saml:NameID>", ".evil.com</saml:NameID>"), {"signature"}),
    "a comment in the NameID": (rewritten("</saml:NameID>", "<!-- -->.evil.com</saml:NameID>"), {"forbidden_content"}),
    "CDATA in the NameID": (rewritten("</saml:NameID>", "<![CDATA[x]]></saml:NameID>"), {"forbidden_content"}),
    "an instruction": (rewritten("</saml:NameID>", "<?x y?></saml:NameID>"), {"forbidden_content"}),
    "another audience": (says(audience="https://other.example.com"), {"audience"}),
    "no audience": (says(audience=None), {"audience"}),
    "no conditions": (says(has_conditions=False), {"audience"}),
    "another recipient": (says(recipient="https://other.example.com/acs/"), {"recipient"}),
    "no recipient": (says(recipient=None), {"recipient"}),
    "another destination": (says(destination="https://other.example.com/acs/"), {"recipient"}),
    "another issuer": (says(issuer="https://evil.example.com"), {"issuer"}),
    "another issuer outside": (says(response_issuer="https://evil.example.com"), {"issuer"}),
    "expired": (says(not_before=-600, not_on_or_after=-120), {"expired"}),
    "confirmed until long ago": (says(confirmed_until=-120), {"expired"}),
    "not valid yet": (says(not_before=3600, not_on_or_after=7200), {"expired"}),
    "valid for two days": (says(not_on_or_after=172_800, confirmed_until=172_800), {"valid_too_long"}),
    "without an end": (says(not_on_or_after=None), {"expired"}),
    "confirmed without an end": (says(confirmed_until=None), {"confirmation", "expired", "malformed"}),
    "sender vouches": (says(method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"), {"confirmation"}),
    "holder of key": (says(method="urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"), {"confirmation", "malformed"}),
    "another request inside": (says(confirmed_for="_another"), {"confirmation", "unsolicited", "malformed"}),
    "no request": (says(in_response_to=None), {"unsolicited"}),
    "an empty subject": (says(subject=""), {"no_subject", "signature", "malformed"}),
    "a transient subject": (says(subject_format="urn:oasis:names:tc:SAML:2.0:nameid-format:transient"), {"no_subject"}),
    "no statement": (says(has_statement=False), {"confirmation", "malformed"}),
    "a failure": (says(status="urn:oasis:names:tc:SAML:2.0:status:Responder"), {"status"}),
    "an entity bomb": (raw(BOMB), {"forbidden_content"}),
    "an external entity": (raw(XXE), {"forbidden_content"}),
    "no XML": (raw("hello"), {"malformed"}),
    "another message": (raw("<a/>"), {"malformed"}),
    "nested deeply": (raw("<a>" * 20_000 + "</a>" * 20_000), {"malformed"}),
    "no base64": (lambda idp, row, said: "%%%", {"malformed"}),
    "nothing": (lambda idp, row, said: "", {"malformed"}),
    "ten megabytes": (lambda idp, row, said: "A" * 10_000_000, {"malformed"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_attack_is_refused_and_told(
    name: str, tenant: Tenant, idp: SamlProvider, row: IdentityProvider, domain: str, settings: Any
) -> None:
    attack, codes = REFUSED[name]
    made = attack(idp, row, idp.says(row, f"ada@{domain}", new_id()))
    with pytest.raises(Refused) as refusal:
        sign_in.receive(provider_id=row.pk, posted=made)
    assert refusal.value.code in codes
    settings.SAML_CRYPTO = "xmlsec1"
    with pytest.raises(Refused) as other:
        responses.read(row, made)
    assert other.value.code == refusal.value.code
    with scope(tenant.organization):
        [trace] = SignIn.objects.all()
        assert (trace.state, trace.code, trace.assertion_id) == (SignIn.State.REFUSED, refusal.value.code, None)
        assert not ExternalIdentity.objects.exists()
        [told] = AuditEvent.objects.filter(action=actions.SIGN_IN_REFUSED.name)
        assert told.metadata == {"code": refusal.value.code}


@pytest.mark.parametrize("crypto", ["xmlsec", "xmlsec1"])
@pytest.mark.parametrize("signs", ["assertion", "response", "both"])
def test_a_good_answer_is_believed(
    signs: str, crypto: str, idp: SamlProvider, row: IdentityProvider, domain: str, settings: Any
) -> None:
    settings.SAML_CRYPTO = crypto
    said = idp.says(row, f"ada@{domain}", new_id()).but(attributes={"displayName": ["Ada"]})
    kept = sign_in.receive(provider_id=row.pk, posted=idp.answer(said, signs=signs))
    assert (kept.state, kept.subject, kept.email) == ("answered", said.subject, said.subject)
    assert (kept.in_response_to, kept.assertion_id) == (said.in_response_to, said.assertion_id)
    assert kept.attributes == {"displayName": ["Ada"]}


@pytest.mark.parametrize("crypto", ["xmlsec", "xmlsec1"])
@pytest.mark.parametrize("signs", ["assertion", "both"])
def test_an_encrypted_answer_is_believed(
    signs: str, crypto: str, idp: SamlProvider, row: IdentityProvider, domain: str, settings: Any
) -> None:
    settings.SAML_CRYPTO = crypto
    said = idp.says(row, f"ada@{domain}", new_id())
    inner = idp.encrypted(row, idp.signed(assertion_of(said), said.assertion_id, ASSERTION))
    response = response_of(said, inner)
    if signs == "both":
        response = idp.signed(response, said.response_id, RESPONSE)
    kept = sign_in.receive(provider_id=row.pk, posted=posted(response))
    assert (kept.subject, kept.assertion_id) == (said.subject, said.assertion_id)


def test_the_same_assertion_counts_once(idp: SamlProvider, row: IdentityProvider, domain: str) -> None:
    answer = idp.answer(idp.says(row, f"ada@{domain}", new_id()))
    sign_in.receive(provider_id=row.pk, posted=answer)
    with pytest.raises(Refused) as refusal:
        sign_in.receive(provider_id=row.pk, posted=answer)
    assert refusal.value.code == "replayed"


def test_a_provider_of_one_organization_opens_nothing_at_another(
    tenant: Tenant, stranger: Tenant, idp: SamlProvider, row: IdentityProvider, domain: str
) -> None:
    theirs = SamlProvider()
    other = connect(stranger, theirs)
    said = theirs.says(other, f"ada@{domain}", new_id())
    with pytest.raises(Refused):  # posted to ours, with its own name and key
        sign_in.receive(provider_id=row.pk, posted=theirs.answer(theirs.says(row, said.subject, new_id())))
    kept = sign_in.receive(provider_id=other.pk, posted=theirs.answer(said))
    with pytest.raises(Refused) as refusal:  # posted to its own, about an address in our domain
        sign_in.complete(sign_in.find(provider=other, sign_in_id=kept.pk))
    assert refusal.value.code == "foreign_domain"


def test_two_certificates_are_good_at_once_and_the_old_one_ends_with_the_metadata(
    tenant: Tenant, idp: SamlProvider, row: IdentityProvider, domain: str
) -> None:
    renewed = SamlProvider(idp.entity_id)
    said = idp.says(row, f"ada@{domain}", None)

    def arrives(by: SamlProvider) -> SignIn:
        return sign_in.receive(
            provider_id=row.pk, posted=by.answer(said.but(in_response_to=new_id(), assertion_id=new_id()))
        )

    def paste(text: str) -> None:
        with scope(tenant.organization):
            fresh = IdentityProvider.objects.get(pk=row.pk)
            fresh.metadata, fresh.version = text, fresh.version + 1
            fresh.save()

    paste(idp.metadata(renewed.certificate))
    assert arrives(idp).state == arrives(renewed).state == "answered"
    paste(renewed.metadata())
    assert arrives(renewed).state == "answered"
    with pytest.raises(Refused) as refusal:
        arrives(idp)
    assert refusal.value.code == "signature"
