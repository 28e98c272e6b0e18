"""A response that was changed anywhere says what was signed, or is refused: nothing else ever comes of it."""

import base64

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import responses
from tests.factories import Tenant
from tests.identity_provider import SamlProvider, new_id, pair, posted
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


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_a_signed_answer_that_was_changed_says_the_same_or_is_refused(
    idp: SamlProvider, row: IdentityProvider, data: st.DataObject
) -> None:
    said = idp.says(row, "ada@acme.com", new_id())
    xml = base64.b64decode(idp.answer(said)).decode()
    start = data.draw(st.integers(xml.index("ID="), len(xml)))
    changed = xml[:start] + data.draw(PIECES) + xml[start + data.draw(st.integers(0, 12)) :]
    try:
        asserted = responses.read(row, posted(changed))
    except Refused as refusal:
        assert refusal.code  # noqa: PT017  # both ways out are the subject
    else:
        assert (asserted.subject, asserted.assertion_id) == (said.subject, said.assertion_id)
        assert asserted.in_response_to == said.in_response_to
