"""The signed entitlements over the API."""

import json
from datetime import timedelta

from django.utils import timezone

from billing.services import entitlements
from tenancy import access
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.billing.selectors.test_snapshots import verified
from tests.capsule_cloud.api.client import Api


def test_a_plan_without_data_planes_of_its_own_gets_no_copy(api: Api) -> None:
    answer = api.get("/v1/entitlements")
    assert (answer.status_code, answer.json()["code"]) == (403, "feature_not_in_plan")


def test_a_plan_that_has_them_gets_a_copy_that_its_key_verifies(api: Api) -> None:
    with scope(api.tenant.organization):
        tomorrow = timezone.now() + timedelta(days=1)
        entitlements.grant_override(
            actor=SYSTEM, key="feature:data_planes", value=True, reason="A pilot", expires_at=tomorrow
        )
    access.reset_key_cache()
    answer = api.get("/v1/entitlements")
    signature = answer.json()["signature"]
    found = verified(json.dumps(answer.json()), signature["public_key"], str(api.tenant.organization.pk))
    assert (found["version"], found["features"]) == (1, ["data_planes", "mcp"])
    assert (signature["key_id"], signature["algorithm"]) == (f"org:{api.tenant.organization.pk}", "Ed25519")
