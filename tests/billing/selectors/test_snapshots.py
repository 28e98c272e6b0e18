"""A data plane can check its entitlements with nothing but a copy and a key: with the very lines of the document."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from django.conf import settings
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from billing.plans import Feature, current
from billing.selectors.snapshots import STALE, signed_bytes, snapshot
from billing.services import entitlements
from capsule_cloud.lib import crypto
from tenancy.audit.services import SYSTEM
from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.services.signing import sign_export
from tests.factories import Tenant

PAGE = (Path(settings.BASE_DIR) / "docs/api/entitlements.md").read_text()
NAMES: dict[str, Any] = {}
[CODE] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
exec(CODE, NAMES)  # noqa: S102  # the document's own lines
verified, may = NAMES["verified"], NAMES["may"]


def answer_of(tenant: Tenant, now: datetime | None = None) -> tuple[str, str]:
    """What the API answers, and the public key."""
    with scope(tenant.organization):
        made = snapshot(now=now)
    signature = {"value": made.signature.value, "public_key": made.signature.public_key}
    return json.dumps({"entitlements": made.entitlements, "signature": signature}), made.signature.public_key


def test_the_verifier_of_the_document_is_short() -> None:
    lines = [line for line in CODE.splitlines() if line.strip()]
    assert len(lines) <= 30


def test_a_copy_says_what_the_organization_may_use(tenant: Tenant) -> None:
    answer, key = answer_of(tenant)
    found = verified(answer, key, str(tenant.organization.pk))
    free = current("free")
    assert found["plan"] == {"key": "free", "version": 1, "basis": "free"}
    assert found["limits"]["operation_limit"] == free.columns["operation_limit"]
    assert found["included"]["operations"] == {"quantity": 25_000, "overage": None}
    assert (found["features"], found["access"], found["version"]) == (["mcp"], "full", 0)
    assert set(found["when_stale"]) == {"reads", "writes", *(f"feature:{one}" for one in Feature)}


@pytest.mark.parametrize(
    "path", [("version",), ("valid_until",), ("access",), ("limits", "operation_limit"), ("plan", "key")]
)
def test_a_changed_copy_is_refused(tenant: Tenant, path: tuple[str, ...]) -> None:
    answer, key = answer_of(tenant)
    document = json.loads(answer)
    place = document["entitlements"]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = 10**9
    with pytest.raises(InvalidSignature):
        verified(json.dumps(document), key, str(tenant.organization.pk))


def test_a_copy_of_another_organization_is_refused(tenant: Tenant, stranger: Tenant) -> None:
    answer, key = answer_of(stranger)
    with pytest.raises(ValueError, match="another's"):
        verified(answer, key, str(tenant.organization.pk))
    _, own_key = answer_of(tenant)
    with pytest.raises(InvalidSignature):
        verified(answer, own_key, str(stranger.organization.pk))


def test_an_older_copy_than_one_that_was_seen_is_refused(tenant: Tenant) -> None:
    old, key = answer_of(tenant)
    with scope(tenant.organization):
        entitlements.grant_override(
            actor=SYSTEM, key="key_limit", value=60, reason="x", expires_at=timezone.now() + timedelta(days=1)
        )
    new, _ = answer_of(tenant)
    seen = verified(new, key, str(tenant.organization.pk))["version"]
    assert seen == 1
    with pytest.raises(ValueError, match="older"):
        verified(old, key, str(tenant.organization.pk), newest_version=seen)


def test_a_signature_over_an_exported_file_is_none_over_entitlements(tenant: Tenant) -> None:
    answer, key = answer_of(tenant)
    document = json.loads(answer)
    canonical = json.dumps(document["entitlements"], sort_keys=True, separators=(",", ":")).encode()
    with scope(tenant.organization):
        document["signature"]["value"] = sign_export(canonical).value
    with pytest.raises(InvalidSignature):
        verified(json.dumps(document), key, str(tenant.organization.pk))


@pytest.mark.parametrize(
    ("access", "reads", "writes"),
    [("full", True, True), ("read_only", True, False), ("suspended", False, False)],
)
def test_a_data_plane_keeps_to_an_unpaid_bill_as_the_api_does(
    tenant: Tenant, access: str, reads: bool, writes: bool
) -> None:
    with scope(tenant.organization):
        Organization.objects.update(access=access)
        entitlements.recompute(actor=SYSTEM)
    answer, key = answer_of(tenant)
    found = verified(answer, key, str(tenant.organization.pk))
    assert (may(found, "reads"), may(found, "writes")) == (reads, writes)


def test_a_stale_copy_goes_on_with_what_is_open_and_stops_what_is_closed(tenant: Tenant) -> None:
    with scope(tenant.organization):
        Organization.objects.update(features=sorted(Feature))
        made = datetime(2026, 11, 24, 12, tzinfo=UTC)
    answer, key = answer_of(tenant, now=made)
    found = verified(answer, key, str(tenant.organization.pk)) | {"features": sorted(Feature)}
    for what, state in STALE.items():
        assert may(found, what, now=made + timedelta(hours=24))
        assert may(found, what, now=made + timedelta(hours=24, seconds=1)) == (state == "open")
    assert not may(found, "feature:unheard_of", now=made)


@given(
    st.dictionaries(
        st.text(st.characters(max_codepoint=127), max_size=5), st.integers(-(2**53), 2**53) | st.text() | st.none()
    )
)
def test_what_is_signed_is_one_text_however_it_was_written(entitlements: dict[str, Any]) -> None:
    shuffled = dict(reversed(json.loads(json.dumps(entitlements, indent=3)).items()))
    try:
        signed = signed_bytes(entitlements)
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    assert signed_bytes(shuffled) == signed
    private = crypto.new_signing_key()
    value = base64.b64encode(crypto.sign(private, signed)).decode()
    document = json.dumps({"entitlements": entitlements, "signature": {"value": value}})
    with pytest.raises(KeyError, match="format"):  # the signature is good; what it signs is not ours
        verified(document, base64.b64encode(crypto.public_key(private)).decode(), "x")
