"""Programs that others wrote to test and to use SCIM servers find nothing wrong with ours."""

from typing import Any, cast

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from scim2_client.engines.wsgi import WSGISCIMClient
from scim2_models import PatchOp, ScimProvider
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


def test_scim2_client_finds_its_way_alone(idp: Idp) -> None:
    headers = {"Authorization": f"Bearer {idp.secret}"}
    client: Any = WSGISCIMClient(application, base_url="http://testserver/scim/v2", headers=headers)
    client.discover()
    user_model, group_model = client.get_resource_model("User"), client.get_resource_model("Group")
    email = f"ada@{idp.domain}"
    ada = client.create(user_model(user_name=email, external_id="1", emails=[{"value": email, "type": "work"}]))
    group = client.create(group_model(display_name="Makers", members=[{"value": ada.id}]))
    found = client.query(user_model, query_parameters={"filter": f'groups.value eq "{group.id}"'})
    assert [one.user_name for one in found.resources] == [email]
    ada.title = "Countess"
    assert client.replace(ada).title == "Countess"
    change = cast("Any", PatchOp)[user_model](operations=[{"op": "replace", "path": "active", "value": False}])
    assert client.modify(user_model, ada.id, change).active is False
    client.delete(user_model, ada.id)
    assert client.query(group_model, group.id).members is None
