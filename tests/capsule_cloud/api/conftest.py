"""Fixtures of the API's tests."""

import pytest

from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant


@pytest.fixture
def api(tenant: Tenant) -> Api:
    """The API, called with the key of `tenant`."""
    return Api(tenant)
