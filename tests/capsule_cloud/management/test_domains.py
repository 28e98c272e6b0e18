"""Staff look whose a domain is, and take it from who cannot prove it any more."""

from io import StringIO
from typing import Any

import pytest
from django.core import mail
from django.core.management import CommandError, call_command

from tenancy.audit import actions
from tenancy.scope import scope
from tests.capsule_cloud.management.test_entitlements import staff
from tests.factories import Tenant
from tests.tenancy.sso.conftest import added, check, name, now_of, verified, zone
from tests.trail import audited
from tests.zones import Zone

__all__ = ["name", "zone"]


def run(domain: str, *arguments: str) -> str:
    """What the command prints."""
    output = StringIO()
    call_command("domains", domain, *arguments, stdout=output)
    return output.getvalue()


def test_it_shows_whose_a_domain_is(tenant: Tenant, stranger: Tenant, zone: Zone, name: str) -> None:
    added(stranger, name)
    assert run(name) == f"{name} is nobody's.\n"
    verified(tenant, zone, name)
    shown = run(name.upper())
    assert shown.startswith(f"{name} of {tenant.organization.slug}: verified\n  verified_at 20")
    assert "The record is there." in shown


def test_staff_take_a_domain_with_a_reason_that_its_organization_reads(
    tenant: Tenant, stranger: Tenant, zone: Zone, name: str, django_capture_on_commit_callbacks: Any
) -> None:
    domain, theirs = verified(tenant, zone, name), verified(stranger, zone, name)
    assert theirs.last_code == "held"
    max_ = staff("Max")
    mail.outbox.clear()
    with django_capture_on_commit_callbacks(execute=True):
        shown = run(name, "--withdraw", "--reason", "Sold on 3 May", "--by", max_.email)
    assert f"{name} of {tenant.organization.slug}: pending" in shown
    assert "Sold on 3 May" in now_of(tenant, domain).last_result
    [told] = mail.outbox
    assert (told.to, "Sold on 3 May" in told.body) == ([tenant.owner.email], True)
    with scope(tenant.organization):
        [event] = audited(actions.DOMAIN_RELEASED.name)
        assert (event.actor["kind"], event.actor["label"], event.reason) == ("staff", max_.email, "Sold on 3 May")
    assert check(stranger, theirs).state == "verified"


def test_nothing_is_taken_without_a_reason_or_somebody_who_does_it(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = verified(tenant, zone, name)
    with pytest.raises(CommandError, match="Say why"):
        run(name, "--withdraw", "--by", staff("Max").email)
    for nobody in ((), ("--by", tenant.owner.email)):
        with pytest.raises(CommandError, match="Say who does it"):
            run(name, "--withdraw", "--reason", "Sold", *nobody)
    assert now_of(tenant, domain).state == "verified"


def test_what_is_no_domain_is_said() -> None:
    with pytest.raises(CommandError, match="nobody owns it"):
        run("co.uk")
