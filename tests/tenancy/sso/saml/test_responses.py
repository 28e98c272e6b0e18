"""A response that was changed anywhere says what was signed, or is refused: nothing else ever comes of it."""

import base64
import copy

import pytest
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import responses
from tests.factories import Tenant
from tests.identity_provider import ASSERTION, SamlProvider, assertion_of, new_id, pair, response_of
from tests.tenancy.sso.saml.conftest import connect

PIECES = st.sampled_from(
    ["", "<", "boss@", "evil.com", "<a/>", "</saml:NameID><saml:NameID>", "xml:id='_a' ", "Recipient='x' ", " ", "\n"]
)


@pytest.mark.parametrize("other", [{"assertion_id": "_" + "a" * 255}, {"in_response_to": "_" + "r" * 255}])
def test_an_id_that_is_too_long_to_keep_is_refused(
    idp: SamlProvider, row: IdentityProvider, other: dict[str, str]
) -> None:
    said = idp.says(row, "ada@acme.com", new_id()).but(**other)
    with pytest.raises(Refused) as refusal:
        responses.read(row, idp.answer(said))
    assert refusal.value.code == "malformed"
    assert "255 characters" in refusal.value.detail


def test_a_certificate_that_has_ended_locks_nobody_out(tenant: Tenant) -> None:
    ended = SamlProvider()
    ended.key, ended.certificate = pair(days=0)
    row = connect(tenant, ended)
    assert row.certificate_expires_at
    assert row.certificate_expires_at <= timezone.now()
    said = ended.says(row, "ada@acme.com", new_id())
    assert responses.read(row, ended.answer(said)).subject == "ada@acme.com"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_another_encoding_carries_no_comment_past_the_signature(
    idp: SamlProvider, row: IdentityProvider, encoding: str
) -> None:
    xml = base64.b64decode(idp.answer(idp.says(row, "ada@acme.com.evil.com", new_id()))).decode()
    changed = xml.replace("acme.com.evil", "acme.com<!-- -->.evil").encode(encoding)
    with pytest.raises(Refused) as refusal:
        responses.read(row, base64.b64encode(changed).decode())
    assert refusal.value.detail == "It is not in UTF-8."


MANGLINGS = st.sampled_from(["text", "bytes", "moved", "copied", "cut", "attribute"])


def mangled(xml: str, data: st.DataObject) -> bytes:
    """The document, changed somewhere as nobody means well would change it."""
    kind = data.draw(MANGLINGS)
    if kind in {"text", "bytes"}:
        start = data.draw(st.integers(xml.index("ID="), len(xml) - 1))
        if kind == "text":
            return (xml[:start] + data.draw(PIECES) + xml[start + data.draw(st.integers(0, 12)) :]).encode()
        raw = bytearray(xml.encode())
        raw[start] ^= data.draw(st.integers(1, 255))
        return bytes(raw)
    root = etree.fromstring(xml)
    elements = list(root.iter())[1:]
    one, other = data.draw(st.sampled_from(elements)), data.draw(st.sampled_from(elements))
    if kind == "attribute":
        name = data.draw(st.sampled_from(["ID", "URI", "Algorithm", "InResponseTo", "Recipient", "NotOnOrAfter"]))
        one.set(name, data.draw(st.sampled_from([value for it in elements for value in it.attrib.values()] or [""])))
    elif kind == "cut":
        one.getparent().remove(one)
    elif other not in list(one.iter()):
        other.insert(data.draw(st.integers(0, len(other))), copy.deepcopy(one) if kind == "copied" else one)
    raw_again: bytes = etree.tostring(root)
    return raw_again


def verdict(row: IdentityProvider, posted: str, crypto: str) -> tuple[str, ...]:
    """What is believed, or why not; nothing but Refused comes out."""
    with override_settings(SAML_CRYPTO=crypto):
        try:
            asserted = responses.read(row, posted)
        except Refused as refusal:
            return ("refused", refusal.code)
    return (asserted.subject, asserted.assertion_id, asserted.in_response_to)


@pytest.mark.parametrize("signs", ["assertion", "both", "encrypted"])
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_an_answer_that_was_changed_says_the_same_or_is_refused_by_both_backends(
    signs: str, idp: SamlProvider, row: IdentityProvider, data: st.DataObject
) -> None:
    said = idp.says(row, "ada@acme.com", "_asked").but(assertion_id="_assertion", response_id="_response")
    if signs == "encrypted":
        inner = idp.encrypted(row, idp.signed(assertion_of(said), said.assertion_id, ASSERTION))
        xml = response_of(said, inner)
    else:
        xml = base64.b64decode(idp.answer(said, signs=signs)).decode()
    changed = base64.b64encode(mangled(xml, data)).decode()
    found = verdict(row, changed, "xmlsec")
    assert found == verdict(row, changed, "xmlsec1")
    assert found[0] == "refused" or found == (said.subject, said.assertion_id, said.in_response_to)
