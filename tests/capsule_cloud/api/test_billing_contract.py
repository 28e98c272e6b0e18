"""A program reads what the contract's page says."""

from tenancy.models import ApiKey
from tenancy.roles import KeyScope
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.web.test_billing_contract import sign_ramp


def test_a_program_reads_the_same(api: Api) -> None:
    with scope(api.tenant.organization):
        ApiKey.objects.filter(pk=api.tenant.key.pk).update(scopes=[KeyScope.BILLING_READ])
    assert api.get("/v1/billing/contract").status_code == 404
    sign_ramp(api.tenant)
    said = api.get("/v1/billing/contract").json()
    assert (said["reference"], said["state"], said["seats"], said["seat_price"]) == ("ACME-2026", "runs", 120, 5_50)
    assert [step["commit"] for step in said["steps"]] == [9_000_00, 90_000_00]
    first = said["steps"][0]
    assert first["true_up"] == 9_000_00 - first["expected"]
    assert (said["po_number"], said["followed_by"]) == ("PO 4711", None)
