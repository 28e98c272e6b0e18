"""A spool of each test's own, and a shorthand for what is counted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from billing.metering import spool
from billing.metering.meters import Meter
from billing.metering.services import Use
from tests.factories import Tenant, make_tenant


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """The spool folder, empty; this process's segment is closed before and after."""
    spool.close()
    settings.USAGE_SPOOL_DIR = str(tmp_path / "spool")
    yield tmp_path / "spool"
    spool.close()


@pytest.fixture
def committed(transactional_db: None) -> Tenant:
    """An organization that other connections see."""
    return make_tenant()


@pytest.fixture
def use(request: pytest.FixtureRequest) -> Callable[..., Use]:
    """Makes a use of the tenant's key: `use()`, `use(Meter.SEAL, quantity=3)`."""
    name = "committed" if "committed" in request.fixturenames else "tenant"
    tenant: Tenant = request.getfixturevalue(name)

    def make(meter: Meter = Meter.RECALL, **values: Any) -> Use:
        return Use(tenant.organization.pk, tenant.project.pk, tenant.key.pk, meter, **values)

    return make
