"""Organizations that raw connections and threads can see."""

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.factories import Tenant, make_tenant
from tests.sealing import forget_trail


@pytest.fixture(scope="module")
def committed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[Tenant, Tenant]]:
    """Two organizations in committed rows, made once a module; the first tries to reach into the second."""
    with django_db_blocker.unblock():
        both = make_tenant(), make_tenant()
    yield both
    forget_trail(*[tenant.organization.pk for tenant in both])
