"""Staff hold an organization's audit log, and erase people from it, on the command line."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.scope import scope
from tests.capsule_cloud.management.test_entitlements import staff
from tests.factories import Tenant
from tests.trail import audited


def run(tenant: Tenant, *arguments: str) -> str:
    """What the command prints."""
    output = StringIO()
    call_command("audit_log", tenant.organization.slug, *arguments, stdout=output)
    return output.getvalue()


def test_it_holds_and_releases_with_a_reason_that_the_customer_reads(tenant: Tenant) -> None:
    max_ = staff("Max")
    assert run(tenant) == "kept for 3 months\n"
    with pytest.raises(CommandError, match="Say why"):
        run(tenant, "--hold", "--by", max_.email)
    with pytest.raises(CommandError, match="--by"):
        run(tenant, "--hold", "--reason", "Case 4711")
    assert run(tenant, "--hold", "--reason", "Case 4711", "--by", max_.email).endswith(": Case 4711\n")
    with pytest.raises(CommandError, match="already"):
        run(tenant, "--hold", "--reason", "Again", "--by", max_.email)
    assert run(tenant, "--release", "--reason", "Over", "--by", max_.email) == "kept for 3 months\n"
    with scope(tenant.organization):
        assert [(one.actor["label"], one.reason) for one in audited("audit.hold.")] == [
            (max_.email, "Case 4711"),
            (max_.email, "Over"),
        ]


def test_it_finds_a_person_and_erases_them(tenant: Tenant) -> None:
    max_ = staff("Max")
    with scope(tenant.organization):
        record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=Target("end_user", "eve@x.org", "eve@x.org"))
    found = run(tenant, "--find", "EVE@x")
    assert set(found.splitlines()) == {"end_user eve@x.org  id: eve@x.org", "end_user eve@x.org  label: eve@x.org"}
    with pytest.raises(CommandError, match="who asked"):
        run(tenant, "--erase", "end_user", "eve@x.org", "--by", max_.email)
    said = run(tenant, "--erase", "end_user", "eve@x.org", "--reason", "Asked on 1 May", "--by", max_.email)
    assert said.startswith("erased 2 names")
    assert run(tenant, "--find", "eve@x") == ""
    with pytest.raises(CommandError, match="nobody"):
        run(tenant, "--erase", "end_user", "eve@x.org", "--reason", "Twice", "--by", max_.email)
    with scope(tenant.organization):
        [told] = audited("audit.person.erased")
    assert (told.actor["label"], told.reason, told.metadata["erased"]) == (max_.email, "Asked on 1 May", 2)
