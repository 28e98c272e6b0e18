"""The API's routes and the checked-in OpenAPI document name the same operations, both ways."""

from pathlib import Path

import yaml
from django.conf import settings

from tests.architecture.access_table import PUBLIC
from tests.architecture.test_every_url_is_guarded import every_url, is_api, methods_of

# Served, but no REST operations.
NOT_REST = {"/mcp": "JSON-RPC: the protocol describes itself (tools/list); docs/api/guide.md says how to connect."}


def documented() -> set[tuple[str, str]]:
    document = yaml.load(  # the C loader is the safe one, and thirty times faster
        (Path(settings.BASE_DIR) / "docs/api/openapi.yaml").read_text(), Loader=yaml.CSafeLoader
    )
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def test_routes_and_document_agree() -> None:
    served = {
        (method, path)
        for path, pattern in every_url()
        if is_api(path) and path not in NOT_REST
        for method in methods_of(pattern)
    } | {("GET", "/health")}
    assert "/health" in PUBLIC
    remedy = "run `.venv/bin/python manage.py spectacular --file docs/api/openapi.yaml`"
    assert served - documented() == set(), f"Not documented: {served - documented()}; {remedy}."
    assert documented() - served == set(), f"Documented, but not there: {documented() - served}; {remedy}."
