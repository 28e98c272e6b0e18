"""Traces of sign-ins go after thirty days, of every organization; assertions that are still valid stay known."""

import logging
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError
from django.utils import timezone

from tenancy.scope import current_organization_id, scope
from tenancy.sso.models import SignIn
from tenancy.sso.providers import retention, sign_in
from tenancy.sso.tasks import forget_sign_ins
from tests.factories import Tenant
from tests.identity_provider import SamlProvider
from tests.tenancy.sso.saml.conftest import connect


def put(tenant: Tenant, *ages: timedelta, valid: timedelta = timedelta(minutes=5)) -> None:
    """Traces of these ages, of assertions that were valid for so long."""
    row = connect(tenant, SamlProvider())
    with scope(tenant.organization):
        for age in ages:
            moment = timezone.now() - age
            SignIn.objects.create(
                provider=row,
                provider_version=1,
                state="done",
                assertion_id=f"_{uuid4().hex}",
                created_at=moment,
                expires_at=moment + valid,
            )


def ages_of(tenant: Tenant) -> list[int]:
    """In days, the oldest first."""
    with scope(tenant.organization):
        return [(timezone.now() - one.created_at).days for one in SignIn.objects.order_by("created_at")]


def test_traces_of_thirty_days_go_and_younger_ones_stay(tenant: Tenant, stranger: Tenant) -> None:
    for one in (tenant, stranger):
        put(one, timedelta(days=400), timedelta(days=30, minutes=1), timedelta(days=29, hours=23), timedelta())
    forget_sign_ins()
    assert ages_of(tenant) == ages_of(stranger) == [29, 0]


def test_an_assertion_that_is_still_valid_is_not_forgotten(tenant: Tenant) -> None:
    put(tenant, timedelta(days=31), valid=timedelta(days=32))
    retention.forget_due()
    assert ages_of(tenant) == [31]


def test_there_is_nothing_to_forget_twice(tenant: Tenant) -> None:
    put(tenant, timedelta(days=31), timedelta(days=32))
    assert retention.forget_due() >= 2
    assert retention.forget_due() == 0


def test_one_organization_that_fails_does_not_keep_the_others(
    tenant: Tenant, stranger: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for one in (tenant, stranger):
        put(one, timedelta(days=31))
    forget = sign_in.forget_old

    def fails_for_one() -> int:
        if current_organization_id() == tenant.organization.pk:
            raise DatabaseError
        return forget()

    monkeypatch.setattr(sign_in, "forget_old", fails_for_one)
    with caplog.at_level(logging.ERROR, "sso.providers"):
        retention.forget_due()
    assert (ages_of(tenant), ages_of(stranger)) == ([31], [])
    assert f"organization={tenant.organization.pk}" in caplog.text
