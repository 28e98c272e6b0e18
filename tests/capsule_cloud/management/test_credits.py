"""Staff look after credits on the command line."""

import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.credits.models import Grant
from tenancy.scope import scope
from tests.capsule_cloud.management.test_entitlements import staff
from tests.factories import Tenant
from tests.trail import audited


def run(tenant: Tenant, *arguments: str) -> str:
    """What the command prints."""
    output = StringIO()
    call_command("credits", tenant.organization.slug, *arguments, stdout=output)
    return output.getvalue()


def test_staff_grant_credits_in_their_own_name_and_take_them_back(tenant: Tenant) -> None:
    max_ = staff("Max")
    by = ["--by", max_.email]
    run(tenant, "--grant", "5000", "--reason", "Sorry for the outage", "--days", "90", *by)
    shown = run(tenant, "--grant", "100", "--category", "promotional", "--priority", "1", "--reason", "Welcome", *by)
    assert shown.startswith("$51.00 can be burned, in this order:\n")
    assert shown.index("Welcome") < shown.index("Sorry for the outage")
    with scope(tenant.organization):
        made = Grant.objects.get(category="adjustment")
        assert made.author == {"kind": "staff", "id": str(max_.pk), "label": max_.email}
        assert made.expires_at is not None
    shown = run(tenant, "--void", str(made.pk), "--reason", "Twice", *by)
    assert shown.startswith("$1.00 can be burned")
    assert re.search(r"Voided +\$50\.00\n", shown)
    with scope(tenant.organization):
        assert len(audited("billing.credits.granted", actor="staff")) == 2


def test_a_reference_makes_a_grant_happen_once(tenant: Tenant) -> None:
    max_ = staff("Max")
    for _ in range(2):
        shown = run(tenant, "--grant", "500", "--reason", "Ticket", "--ref", "T-17", "--by", max_.email)
    assert shown.startswith("$5.00 can be burned")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grant", "500", "--reason", "x"], "member of staff"),
        (["--grant", "500", "--reason", "x", "--by", "{owner}"], "member of staff"),
        (["--grant", "500", "--by", "{staff}"], "reason"),
        (["--grant", "0", "--reason", "x", "--by", "{staff}"], "whole number"),
        (["--grant", "500", "--reason", "x", "--days", "0", "--by", "{staff}"], "past"),
        (["--void", "01a20ee1-f322-7411-824f-71634cd3688e", "--reason", "x", "--by", "{staff}"], "no such grant"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(tenant: Tenant, arguments: list[str], message: str) -> None:
    names = {"owner": tenant.owner.email, "staff": staff("Max").email}
    with pytest.raises(CommandError, match=message):
        run(tenant, *(one.format(**names) for one in arguments))
    with scope(tenant.organization):
        assert not Grant.objects.exists()
