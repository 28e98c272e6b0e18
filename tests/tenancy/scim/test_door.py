"""Directories come in by a door of their own: over https, past the console's middleware, and are answered in SCIM."""

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from tenancy.scim import exchanges
from tenancy.scim.directories import services
from tenancy.scim.door import ScimDoor
from tenancy.scope import scope
from tests.tenancy.scim.conftest import BULK, ENTERPRISE, GROUP, SCIM, USER, Idp


def test_answers_are_neither_kept_nor_guessed_at(idp: Idp, settings: Any) -> None:
    settings.SECURE_HSTS_SECONDS = 60
    answer = idp("GET", "/Users", status=200)
    assert answer["Content-Type"] == SCIM
    assert (answer["Cache-Control"], answer["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert answer["Strict-Transport-Security"] == "max-age=60; includeSubDomains"
    assert answer["X-Request-Id"]
    assert not answer.cookies


def test_a_token_in_the_clear_is_not_even_looked_at(idp: Idp, settings: Any) -> None:
    settings.IS_HTTPS = True
    assert "https" in idp("GET", "/Users", status=403).data["detail"]


def test_other_paths_go_on() -> None:
    request = RequestFactory().get("/scimitar")
    assert ScimDoor(lambda _: HttpResponse("beyond"))(request).content == b"beyond"


def test_whatever_breaks_is_a_scim_error(
    idp: Idp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tenancy.scim.authentication.limits.wait_for", lambda _: 1 / 0)
    answer = idp("GET", "/Users", status=500)
    assert answer["X-Request-Id"] in answer.data["detail"]
    assert "ZeroDivisionError" in caplog.text


def test_a_directory_that_is_removed_meanwhile_is_none(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    with scope(idp.tenant.organization):
        services.remove(actor=idp.tenant.actor, directory_id=idp.directory.pk)
    monkeypatch.setattr("tenancy.scim.authentication.authenticate", lambda _: idp.principal)
    monkeypatch.setattr(exchanges, "record", lambda **_: None)  # its row would be refused when the transaction ends
    body = {"schemas": [USER], "userName": f"ada@{idp.domain}"}
    assert idp("POST", "/Users", body, 401)["WWW-Authenticate"] == 'Bearer realm="SCIM"'
    idp("GET", "/Users", status=401)


def test_bulk_replaces_and_patches(idp: Idp) -> None:
    user, group = idp.user("ada", title="Boss"), idp.group("Team")
    paths = [f"/Users/{user['id']}", f"/Groups/{group['id']}"]
    members = [{"op": "add", "path": "members", "value": [{"value": user["id"]}]}]
    operations = [
        {"method": "PUT", "path": paths[0], "data": {"schemas": [USER], "userName": user["userName"]}},
        {"method": "PATCH", "path": paths[1], "data": {"Operations": members}},
        {"method": "PUT", "path": paths[1], "data": {"schemas": [GROUP], "displayName": "Nobody"}},
    ]
    done = idp("POST", "/Bulk", {"schemas": [BULK], "Operations": operations}, 200).data["Operations"]
    assert [(one["status"], one["version"]) for one in done] == [
        ("200", 'W/"2"'),
        ("200", 'W/"2"'),
        ("200", 'W/"3"'),
    ]
    assert "title" not in idp("GET", paths[0]).data
    assert "members" not in idp("GET", paths[1]).data


def test_references_become_addresses(idp: Idp) -> None:
    boss = idp.user("boss")
    made = idp.user("ada", **{ENTERPRISE: {"manager": {"value": boss["id"], "$ref": f"Users/{boss['id']}"}}})
    assert made[ENTERPRISE]["manager"]["$ref"] == boss["meta"]["location"]


@pytest.mark.parametrize(
    "scim_filter",
    [
        "emails.primary eq true and emails[primary eq true]",
        'meta.created co "20" or meta.created ew "Z"',
        'x509Certificates.value eq "aGk="',
        "name eq null",
        'emails[nothing eq "x"]',
        'emails[urn:x:value eq "x"]',
        'schemas[nothing eq "x"]',
        "nickName gt null",
        "emails eq null or addresses ne null",
        'id eq "nobody" or groups.value eq "nobody"',
    ],
)
def test_filters_of_every_kind_are_answered(idp: Idp, scim_filter: str) -> None:
    made = idp.user(x509Certificates=[{"value": "aGk="}])["id"]
    answer = idp("POST", "/Users/.search", {"filter": scim_filter})
    assert answer.status_code in {200, 400}, answer.data
    if scim_filter.startswith(("x509", "emails.primary", "name")):
        assert [one["id"] for one in answer.data["Resources"]] == [made]
