"""Makes domains in every state, for tests of what looks at them."""

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone

from tenancy.scope import scope
from tenancy.sso.domains import services
from tenancy.sso.models import VerifiedDomain
from tests.factories import Tenant


def put(tenant: Tenant, name: str, **columns: Any) -> VerifiedDomain:
    """The domain, added by the owner, with these columns."""
    with scope(tenant.organization):
        domain = services.add(actor=tenant.actor, domain=name)
        VerifiedDomain.objects.filter(pk=domain.pk).update(**columns)
        return VerifiedDomain.objects.get(pk=domain.pk)


def make_sso_things(tenant: Tenant) -> dict[str, str]:
    """Path parameters of a domain. It was looked up just now, so that nobody looks again while a test runs."""
    just_now = timezone.now() + timedelta(hours=1)
    return {"domain_id": str(put(tenant, f"acme-{uuid.uuid4().hex[:12]}.com", turn_at=just_now, due_at=None).pk)}
