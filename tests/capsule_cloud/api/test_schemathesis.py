"""Whatever fits, or nearly fits, the document gets an answer that the document foresees, and never a server error."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.conf import settings
from hypothesis import HealthCheck, Phase
from hypothesis import settings as bounded
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from capsule_cloud.wsgi import application
from tenancy.models import Organization
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.api.things import make_things
from tests.factories import make_tenant

EXAMPLES = 8  # for each operation, each sent twice
PROMISES = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

schema = schemathesis.openapi.from_path(Path(settings.BASE_DIR) / "docs/api/openapi.yaml")
schema.app = application


@pytest.fixture
def busy(transactional_db: None) -> Api:
    """A committed organization that may ask as often as it likes."""
    tenant = make_tenant()
    with scope(tenant.organization):
        Organization.objects.update(requests_per_minute=10_000_000, project_limit=10_000, key_limit=10_000)
    return Api(tenant)


@pytest.fixture
def known(busy: Api) -> dict[str, str]:
    """Path parameters of things that exist. The key stays: without it nothing more could be asked."""
    child = busy.post("/v1/keys", {"name": "Child", "scopes": ["memory:read"]}).json()
    return make_things(busy) | {"key_id": child["id"]}


@schema.parametrize()
@bounded(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_keeps_the_promises_of_the_document(case: Case[Any], busy: Api, known: dict[str, str]) -> None:
    headers = busy.tenant.headers
    case.validate_response(case.call(headers=headers), checks=PROMISES)
    if case.path_parameters:
        case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
        if "link" in case.query:
            case.query["link"] = known["link"]  # what opens a file is a part of its address, too
        case.validate_response(case.call(headers=headers), checks=PROMISES)
