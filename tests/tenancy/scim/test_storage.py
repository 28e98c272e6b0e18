"""Users and groups are kept as scim2-server's own contract for storages asks, on PostgreSQL and behind the wall."""

from collections.abc import Iterator

import pytest
from scim2_models import ScimProvider
from scim2_server.testing import ScimStorageContract

from tenancy.scim import provisioning
from tenancy.scim.resources import PROVIDER
from tenancy.scim.storage import DirectoryStorage
from tenancy.scope import scope
from tests.factories import Tenant
from tests.tenancy.scim.directory_things import connected


class TestDirectoryStorage(ScimStorageContract):
    """The contract's users have no addresses: they become nobody's members."""

    @pytest.fixture
    def provider(self) -> ScimProvider:
        return PROVIDER

    @pytest.fixture
    def storage(self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[DirectoryStorage]:
        monkeypatch.setattr(provisioning, "provision", lambda row, actor: None)
        _, principal, _ = connected(tenant)
        with scope(tenant.organization), PROVIDER:
            storage = DirectoryStorage(principal)
            storage.is_bulk = True  # an operation that fails leaves the others as they are
            yield storage
