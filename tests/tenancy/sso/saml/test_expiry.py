"""Admins hear of an end thirty, fourteen, seven days and one day before it, once each, and of the right one."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tenancy.sso.models import CertificateNotice, IdentityProvider
from tenancy.sso.saml import expiry
from tenancy.sso.tasks import tell_endings
from tests.factories import Tenant
from tests.raw import connect as raw_connect


@pytest.fixture(autouse=True)
def _nothing_else_ends(django_db_setup: None) -> None:
    """Leave alone what other tests have committed."""
    with raw_connect("superuser") as server:
        server.execute("UPDATE sso_identityprovider SET state = 'off'")


@pytest.fixture
def told(django_capture_on_commit_callbacks: Any) -> Any:
    """Look whether something ends; the subjects of the mails that go out."""

    def look() -> list[str]:
        mail.outbox.clear()
        with django_capture_on_commit_callbacks(execute=True):
            tell_endings()
        return [str(one.subject) for one in mail.outbox]

    return look


def ends(tenant: Tenant, row: IdentityProvider, **columns: Any) -> None:
    """Have it end in so many days; one certificate unless something else is said."""
    moments = {name: timezone.now() + timedelta(days=days) for name, days in columns.items() if days is not None}
    if set(moments) == {"certificate_expires_at"}:
        moments["next_certificate_expires_at"] = moments["certificate_expires_at"]
    with scope(tenant.organization):
        IdentityProvider.objects.filter(pk=row.pk).update(**moments)


def test_each_mark_is_told_once(tenant: Tenant, row: IdentityProvider, told: Any) -> None:
    end = timezone.now()
    for days, count in ((31, 0), (29.5, 1), (15, 0), (13.5, 1), (6.9, 1), (2, 0), (0.9, 1), (-1, 0)):
        with scope(tenant.organization):  # the same end, seen from later and later
            moment = end + timedelta(days=days)
            IdentityProvider.objects.filter(pk=row.pk).update(
                certificate_expires_at=moment, next_certificate_expires_at=moment
            )
            CertificateNotice.objects.update(ends_at=moment)
        subjects = told()
        assert len(subjects) == count, days
        assert told() == []
    with scope(tenant.organization):
        events = AuditEvent.objects.filter(action=actions.PROVIDER_ENDS_SOON.name)
        assert sorted(one.metadata["days"] for one in events) == [1, 7, 14, 30]


def test_of_two_certificates_the_last_one_warns_and_the_other_is_noted_once(
    tenant: Tenant, row: IdentityProvider, told: Any
) -> None:
    ends(tenant, row, certificate_expires_at=300, next_certificate_expires_at=20)
    assert told() == []
    ends(tenant, row, certificate_expires_at=300, next_certificate_expires_at=6)
    [subject] = told()
    assert subject == "A certificate of Okta ends in 6 days"
    assert "Another goes on until" in mail.outbox[0].body
    assert told() == []
    with scope(tenant.organization):
        [shown] = expiry.endings()
    assert (shown.what, shown.days) == ("one_of_several", 6)


def test_metadata_that_was_pasted_ends_and_what_is_fetched_does_not(
    tenant: Tenant, row: IdentityProvider, told: Any
) -> None:
    ends(tenant, row, metadata_valid_until=6.5)
    assert told() == ["The metadata of Okta ends in 7 days"]
    with scope(tenant.organization):
        IdentityProvider.objects.filter(pk=row.pk).update(metadata_url="https://idp.example.com/metadata")
        assert expiry.endings() == []


def test_a_provider_that_nobody_uses_says_nothing(tenant: Tenant, row: IdentityProvider, told: Any) -> None:
    ends(tenant, row, certificate_expires_at=5)
    with scope(tenant.organization):
        IdentityProvider.objects.filter(pk=row.pk).update(state="off")
    assert told() == []
