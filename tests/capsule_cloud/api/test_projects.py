"""/v1/organization and /v1/projects."""

from uuid import uuid4

import pytest

from tenancy import access
from tenancy.models import Organization
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant


def test_the_organization_is_the_keys_own_and_can_be_renamed(api: Api) -> None:
    before = api.get("/v1/organization").json()
    assert before["id"] == str(api.tenant.organization.pk)
    assert before["project_limit"] == 5
    assert (before["operation_limit"], before["features"], before["access"]) == (25_000, ["mcp"], "full")
    answer = api.patch("/v1/organization", {"name": " Acme "})
    assert (answer.status_code, answer.json()) == (200, before | {"name": "Acme"})
    assert "signing_key" not in before


def test_a_project_is_created_read_changed_and_archived(api: Api) -> None:
    made = api.post("/v1/projects", {"name": "Shop"})
    assert made.status_code == 201
    project = made.json()
    assert (project["name"], project["slug"], project["archived_at"]) == ("Shop", "shop", None)
    change = {"cors_origins": ["https://Shop.example.com/"], "turn_retention_days": 7}
    changed = api.patch(f"/v1/projects/{project['id']}", change).json()
    assert (changed["cors_origins"], changed["turn_retention_days"]) == (["https://shop.example.com"], 7)
    assert api.get(f"/v1/projects/{project['id']}").json() == changed
    assert api.post(f"/v1/projects/{project['id']}/archive").json()["archived_at"]
    assert api.get(f"/v1/projects/{project['id']}").status_code == 404
    assert [one["slug"] for one in api.get("/v1/projects").json()["data"]] == ["default"]


def test_archiving_its_own_project_ends_the_key(api: Api) -> None:
    assert api.post(f"/v1/projects/{api.tenant.project.pk}/archive").status_code == 200
    access.reset_key_cache()
    assert api.get("/v1/projects").status_code == 401


def test_pages_follow_each_other_without_gap_or_repetition(api: Api) -> None:
    names = ["Default", *(api.post("/v1/projects", {"name": f"P{n}"}).json()["name"] for n in range(4))]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(f"/v1/projects?limit=2&cursor={cursor}").json()
        assert len(page["data"]) <= 2
        seen += [one["name"] for one in page["data"]]
        cursor = page["next_cursor"]
    assert seen == names


@pytest.mark.parametrize("cursor", ["x", "é", "AAAA", "a" * 500, "%00", "../../etc"])
def test_a_cursor_that_is_not_ours_is_refused(api: Api, cursor: str) -> None:
    answer = api.get(f"/v1/projects?cursor={cursor}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "1.5", "٣", "9" * 30])
def test_a_limit_out_of_bounds_is_refused(api: Api, limit: str) -> None:
    answer = api.get(f"/v1/projects?limit={limit}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "limit")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": 7.5e300, "slug": []}, "slug"),
        ({"name": "a\x00b"}, "name"),
        ([], "non_field_errors"),
    ],
)
def test_each_wrong_field_is_named(api: Api, body: object, field: str) -> None:
    answer = api("POST", "/v1/projects", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert field in [error["field"] for error in answer.json()["errors"]]


def test_a_wrong_origin_in_a_list_is_named(api: Api) -> None:
    answer = api.patch(f"/v1/projects/{api.tenant.project.pk}", {"cors_origins": ["https://ok.example", "not one"]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "cors_origins")


def test_the_plans_limit_and_a_taken_slug_have_codes_of_their_own(api: Api) -> None:
    assert api.post("/v1/projects", {"name": "Default"}).json()["code"] == "conflict"
    with scope(api.tenant.organization):
        Organization.objects.update(project_limit=1)
    answer = api.post("/v1/projects", {"name": "One more"})
    assert (answer.status_code, answer.json()["code"]) == (403, "limit_reached")


def test_a_strangers_project_does_not_exist(api: Api, stranger: Tenant) -> None:
    for project_id in (stranger.project.pk, uuid4()):
        assert api.get(f"/v1/projects/{project_id}").status_code == 404
        assert api.patch(f"/v1/projects/{project_id}", {"name": "Mine"}).status_code == 404
        assert api.post(f"/v1/projects/{project_id}/archive").status_code == 404
    assert str(stranger.project.pk) not in api.get("/v1/projects").content.decode()


def test_other_content_types_are_refused(api: Api) -> None:
    answer = api.client.post("/v1/projects", {"name": "Form"}, headers=api.tenant.headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    answer = api.get("/v1/projects", Accept="text/html")
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_a_format_that_nobody_offers_is_ignored(api: Api) -> None:
    assert api.get("/v1/projects?format=xml").json() == api.get("/v1/projects").json()
