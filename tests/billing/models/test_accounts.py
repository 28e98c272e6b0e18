"""One organization, one customer; dj-stripe's tables keep no secret and stop no purge."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, ProgrammingError, transaction
from django.utils import timezone
from djstripe import models as mirror

from billing.models import BillingAccount
from tenancy.models import Organization
from tenancy.scope import scope, unscoped
from tenancy.services import organizations
from tests.factories import Tenant


def test_a_customer_belongs_to_one_organization_alone(tenant: Tenant, stranger: Tenant) -> None:
    customer = f"cus_{uuid4().hex}"
    with scope(tenant.organization):
        BillingAccount.objects.create(stripe_customer_id=customer)
    with pytest.raises(IntegrityError, match="stripe_customer_id"), scope(stranger.organization):
        BillingAccount.objects.create(stripe_customer_id=customer)
    with unscoped(reason="test") as wide:
        [found] = wide.rows("billing_organization_of_customer", customer)
    assert found["organization_id"] == tenant.organization.pk


def test_an_organization_has_one_account(tenant: Tenant) -> None:
    with scope(tenant.organization):
        BillingAccount.objects.create()
    with pytest.raises(IntegrityError, match="billing_account_once"), scope(tenant.organization):
        BillingAccount.objects.create()


def test_the_application_cannot_store_stripe_s_keys_in_clear(db: None) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        mirror.APIKey.objects.create(secret=f"sk_test_{uuid4().hex}", type="secret", livemode=False)
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        mirror.APIKey.objects.count()


def test_a_mirrored_customer_does_not_stop_the_purge_of_its_organization(tenant: Tenant) -> None:
    with scope(tenant.organization):
        customer = mirror.Customer.objects.create(id=f"cus_{uuid4().hex}", subscriber=tenant.organization)
        BillingAccount.objects.create(stripe_customer_id=customer.id)
        Organization.objects.update(closed_at=timezone.now() - timedelta(days=400))
    purge = next(one for one in organizations.purge_due() if one.organization_id == tenant.organization.pk)
    assert purge.counts["billing.BillingAccount"] == 1
    customer.refresh_from_db()
    assert customer.subscriber_id is None
