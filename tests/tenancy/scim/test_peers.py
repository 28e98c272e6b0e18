"""Programs that others wrote to test and to use SCIM servers find nothing wrong with ours."""

from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from scim2_client.engines.wsgi import WSGISCIMClient
from scim2_models import ScimProvider
from scim2_tester import Status, check_server

from tenancy.scim import provisioning
from tenancy.scim.door import ScimDoor
from tests.tenancy.scim.conftest import Idp


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Our door as a WSGI application, on the test's own connection: Django's would close it."""
    answer = ScimDoor(lambda _: HttpResponse(status=404))(WSGIRequest(environ))
    start_response(f"{answer.status_code} {answer.reason_phrase}", list(answer.items()))
    return [answer.content]


@pytest.fixture
def client(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> WSGISCIMClient:
    """Another author's client; its users have random addresses, and become nobody's members."""
    monkeypatch.setattr(provisioning, "provision", lambda row, actor: None)
    headers = {"Authorization": f"Bearer {idp.secret}"}
    return WSGISCIMClient(application, base_url="http://testserver/scim/v2", headers=headers, provider=ScimProvider())


def test_scim2_tester_finds_nothing(client: WSGISCIMClient) -> None:
    results = check_server(client)
    wrong = [f"{one.title}: {one.status.name}, {one.reason}" for one in results if one.status is not Status.SUCCESS]
    assert not wrong
    assert len(results) > 100
