"""Staff look after unpaid invoices on the command line."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing.models import Dunning
from billing.services.dunning import payment_failed
from tenancy.audit.services import SYSTEM
from tenancy.models import Organization
from tenancy.scope import scope
from tests.capsule_cloud.management.test_entitlements import staff
from tests.factories import Tenant
from tests.trail import audited


def run(tenant: Tenant, *arguments: str) -> str:
    """What the command prints."""
    output = StringIO()
    call_command("dunning", tenant.organization.slug, *arguments, stdout=output)
    return output.getvalue()


def test_it_shows_what_is_owed_and_what_follows(tenant: Tenant) -> None:
    assert run(tenant) == "ok\n"
    failed_at = timezone.now() - timedelta(days=20)
    with scope(tenant.organization):
        payment_failed(actor=SYSTEM, invoice_ref="in_1", amount=4900, currency="usd", failed_at=failed_at)
    shown = run(tenant)
    assert shown.startswith("restricted\n  in_1 $49.00 since ")
    assert f"{failed_at + timedelta(days=60):%Y-%m-%d} a letter, then cancelled\n" in shown


def test_staff_give_an_organization_more_time(tenant: Tenant) -> None:
    with scope(tenant.organization):
        payment_failed(
            actor=SYSTEM,
            invoice_ref="in_1",
            amount=4900,
            currency="usd",
            failed_at=timezone.now() - timedelta(days=20),
        )
        assert Organization.objects.get().access == "read_only"
    max_ = staff("Max")
    shown = run(tenant, "--terms", "30", "60", "90", "--reason", "They asked", "--by", max_.email)
    assert shown.startswith("past_due\n")
    with scope(tenant.organization):
        assert Organization.objects.get().access == "full"
        [event] = audited("billing.dunning.terms_set")
    assert (event.actor["label"], event.reason) == (max_.email, "They asked")


@pytest.mark.parametrize("terms", [("30", "20", "90"), ("0", "20", "90")])
def test_terms_without_sense_are_refused(terms: tuple[str, ...], tenant: Tenant) -> None:
    with pytest.raises(CommandError, match="Writes stop before"):
        run(tenant, "--terms", *terms, "--by", staff("Max").email)
    with pytest.raises(CommandError, match="Write a reason"):
        run(tenant, "--terms", "10", "20", "30", "--by", staff("Eva").email)
    with pytest.raises(CommandError, match="member of staff"):
        run(tenant, "--terms", "10", "20", "30")
    with scope(tenant.organization):
        assert not Dunning.objects.exists()
