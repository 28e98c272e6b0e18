"""Exports are signed with a key of the organization."""

import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capsule_cloud.lib import crypto
from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.services import signing
from tests.factories import Tenant


def test_an_organization_verifies_what_it_signed_and_nothing_else(tenant: Tenant, stranger: Tenant) -> None:
    with scope(tenant.organization):
        signature = signing.sign_export(b"payload")
        assert (signature.key_id, signature.algorithm) == (f"org:{tenant.organization.pk}", "Ed25519")
        assert signing.verify_export(b"payload", signature.value)
        assert not signing.verify_export(b"payload!", signature.value)
    with scope(stranger.organization):
        assert not signing.verify_export(b"payload", signature.value)
        assert signing.sign_export(b"payload").public_key != signature.public_key


def test_anybody_can_verify_with_the_public_key(tenant: Tenant) -> None:
    with scope(tenant.organization):
        signature = signing.sign_export(b"payload")
    public, value = (base64.b64decode(text) for text in (signature.public_key, signature.value))
    assert crypto.verifies(public, value, b"payload")


@given(value=st.text(max_size=120) | st.binary(max_size=80).map(lambda raw: base64.b64encode(raw).decode()))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_other_text_is_a_signature(value: str, tenant: Tenant) -> None:
    with scope(tenant.organization):
        assert not signing.verify_export(b"payload", value)


def test_the_private_key_is_sealed_and_of_no_use_under_other_keys(tenant: Tenant) -> None:
    with scope(tenant.organization):
        sealed = bytes(Organization.objects.get().signing_key)
        Organization.objects.update(signing_key=sealed[:-4] + b"AAAA")
        with pytest.raises(crypto.Unreadable):
            signing.sign_export(b"payload")
