"""Organizations that raw connections and threads can see."""

import pytest
from pytest_django import DjangoDbBlocker

from tests.factories import Tenant, make_tenant


@pytest.fixture(scope="module")
def committed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> tuple[Tenant, Tenant]:
    """Two organizations in committed rows, made once a module; the first tries to reach into the second."""
    with django_db_blocker.unblock():
        return make_tenant(), make_tenant()
