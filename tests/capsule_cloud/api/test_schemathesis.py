"""Whatever fits, or nearly fits, the document gets an answer that the document foresees, and never a server error."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from hypothesis import HealthCheck, Phase
from hypothesis import settings as bounded
from pytest_django import DjangoDbBlocker
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from capsule_cloud.wsgi import application
from tenancy import access
from tenancy.models import Organization
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.api.things import make_things
from tests.factories import make_tenant

EXAMPLES = 8  # for each operation, each sent twice
PROMISES = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

schema = schemathesis.openapi.from_path(Path(settings.BASE_DIR) / "docs/api/openapi.yaml")
schema.app = application


@dataclass(frozen=True, slots=True)
class Busy:
    """An organization that may ask as often as it likes, and path parameters of everything that exists in it."""

    headers: dict[str, str]
    known: dict[str, str]


@pytest.fixture(scope="module")
def committed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Busy:
    """Made once: it takes as long as all that one operation is asked. The key stays: nothing could be asked without."""
    with django_db_blocker.unblock():
        api = Api(make_tenant())
        with scope(api.tenant.organization):
            Organization.objects.update(requests_per_minute=10_000_000, project_limit=10_000, key_limit=10_000)
        child = api.post("/v1/keys", {"name": "Child", "scopes": ["memory:read"]}).json()
        return Busy(api.tenant.headers, make_things(api) | {"key_id": child["id"]})


@pytest.fixture
def busy(committed: Busy, db: None, monkeypatch: pytest.MonkeyPatch) -> Busy:
    """As it was made: the test's own transaction takes back whatever an operation does to it."""
    access.reset_key_cache()
    # A server drops a connection that is in the middle of something; Django's own test client keeps it, as this does.
    monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "close_if_unusable_or_obsolete", lambda: None)
    return committed


@schema.parametrize()
@bounded(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_keeps_the_promises_of_the_document(case: Case[Any], busy: Busy) -> None:
    headers, known = busy.headers, busy.known
    case.validate_response(case.call(headers=headers), checks=PROMISES)
    if case.path_parameters:
        case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
        if "link" in case.query:
            case.query["link"] = known["link"]  # what opens a file is a part of its address, too
        case.validate_response(case.call(headers=headers), checks=PROMISES)
