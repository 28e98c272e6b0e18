"""SCIM 2.0 as RFC 7643 and 7644 have it: what is answered, by which status, and what is changed by it."""

import json
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from capsule_cloud.lib.windows import Windows
from tenancy.models import Membership, Organization
from tenancy.scim import limits, storage
from tenancy.scim.models import Directory, DirectoryUser, Exchange
from tenancy.scope import scope
from tests.tenancy.scim.conftest import BASE, BULK, ENTERPRISE, GROUP, SCIM, USER, Idp

LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"


def test_what_is_supported_is_told_to_everybody(db: None) -> None:
    answer = Client().get(f"{BASE}/ServiceProviderConfig")
    told = answer.json()
    assert answer["Content-Type"] == SCIM
    assert {name for name in ("patch", "bulk", "filter", "sort", "etag") if told[name]["supported"]} == {
        "patch",
        "bulk",
        "filter",
        "sort",
        "etag",
    }
    assert told["pagination"]["cursor"] is told["pagination"]["index"] is True
    assert Client().post(f"{BASE}/ServiceProviderConfig").status_code == 405


def test_schemas_and_resource_types_are_found(idp: Idp) -> None:
    types = {one["id"]: one for one in idp("GET", "/ResourceTypes", status=200).data["Resources"]}
    assert types["User"]["schemaExtensions"] == [{"schema": ENTERPRISE, "required": False}]
    schemas = {one["id"] for one in idp("GET", "/Schemas", status=200).data["Resources"]}
    assert schemas == {USER, GROUP, ENTERPRISE}
    assert idp("GET", f"/Schemas/{USER}", status=200).data["name"] == "User"
    idp("GET", "/ResourceTypes/Pet", status=404)
    idp("GET", "/Schemas?filter=name%20pr", status=403)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/Me", 501),
        ("PATCH", "/Me", 501),
        ("GET", "/Pets", 404),
        ("GET", "/Users/1/2/3", 404),
        ("GET", "/Users/not-an-id", 404),
        ("DELETE", "/Users", 405),
        ("PUT", "/Bulk", 405),
        ("OPTIONS", "/Users", 405),
    ],
)
def test_what_is_not_there_is_a_scim_error(idp: Idp, method: str, path: str, status: int) -> None:
    idp(method, path, status=status)


def test_outside_of_the_base_address_is_no_page_of_ours(db: None) -> None:
    answer = Client().get("/scim/v1/Users")
    assert (answer.status_code, answer["Content-Type"]) == (404, SCIM)


def test_without_a_token_that_is_good_nobody_is_told_anything(idp: Idp) -> None:
    for authorization in ("", "Bearer nonsense", f"Basic {idp.secret}", f"Bearer {idp.secret}x"):
        answer = idp("GET", "/Users", status=401, authorization=authorization)
        assert answer["WWW-Authenticate"] == 'Bearer realm="SCIM"'


def test_a_token_has_so_many_requests_a_minute(idp: Idp, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SCIM_REQUESTS_PER_MINUTE = 2
    monkeypatch.setattr("tenancy.scim.limits.time.time", lambda: 1_000_000_030.0)
    for status in (200, 200, 429):
        answer = idp("GET", "/Users", status=status)
    assert answer["Retry-After"] == "50"
    with scope(idp.tenant.organization):
        assert Exchange.objects.filter(status=429).count() == 0


def test_a_process_takes_a_hundredth_of_the_limit_at_once(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SCIM_REQUESTS_PER_MINUTE, token = 250, uuid4()
    monkeypatch.setattr("tenancy.scim.limits.time.time", lambda: 1_000_000_030.0)
    monkeypatch.setattr("capsule_cloud.lib.windows.MOST_LEASES", 0)  # as when there are too many
    assert [limits.wait_for(token) for _ in range(251)] == [0] * 250 + [50]
    monkeypatch.setattr("tenancy.scim.limits.time.time", lambda: 1_000_000_080.0)
    assert limits.wait_for(token) == 0


def test_without_valkey_everybody_is_served(idp: Idp, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SCIM_REQUESTS_PER_MINUTE = 0
    monkeypatch.setattr(limits, "windows", Windows("redis://127.0.0.1:9"))
    idp("GET", "/Users", status=200)


def test_a_user_is_made_changed_and_deleted(idp: Idp) -> None:
    made = idp.user("ada", name={"givenName": "Ada"})
    path = f"/Users/{made['id']}"
    assert made["meta"]["location"] == f"http://testserver{BASE}{path}"
    read = idp("GET", path, status=200)
    assert read.data == made
    assert (read["ETag"], read["Content-Location"]) == ('W/"1"', made["meta"]["location"])
    replaced = idp("PUT", path, {**made, "displayName": "Ada L.", "title": None}, 200).data
    assert (replaced["displayName"], replaced["meta"]["version"]) == ("Ada L.", 'W/"2"')
    again = idp("PUT", path, replaced, 200).data
    assert again["meta"] == replaced["meta"], "a PUT that changes nothing is none"
    assert idp("DELETE", path, status=204).content == b""
    idp("GET", path, status=404)
    idp("DELETE", path, status=404)
    with scope(idp.tenant.organization):
        assert Membership.objects.count() == 1


def test_names_and_external_ids_are_taken_once(idp: Idp) -> None:
    first, second = idp.user("ada"), idp.user("bob")
    for taken in ({"userName": first["userName"].upper()}, {"externalId": first["externalId"]}):
        body = {"schemas": [USER], "userName": f"new@{idp.domain}", **taken}
        refused = idp("POST", "/Users", body, 409).data
        assert refused["scimType"] == "uniqueness"
    change = {"op": "replace", "path": "userName", "value": first["userName"]}
    assert idp.patch(f"/Users/{second['id']}", change, status=409).data["scimType"] == "uniqueness"


@pytest.mark.parametrize(
    ("body", "scim_type"),
    [
        (b"{", "invalidSyntax"),
        (b"", "invalidSyntax"),
        ({"schemas": [USER]}, "invalidValue"),
        ({"userName": 7, "schemas": [USER]}, "invalidValue"),
        ({"userName": "x" * 321, "schemas": [USER]}, "invalidValue"),
        ({"userName": "nul\0", "schemas": [USER]}, "invalidValue"),
        ({"userName": "a", "emails": [{"primary": True}, {"primary": True}], "schemas": [USER]}, "invalidValue"),
    ],
)
def test_what_cannot_be_kept_is_refused(idp: Idp, body: Any, scim_type: str) -> None:
    assert idp("POST", "/Users", body, 400).data["scimType"] == scim_type
    with scope(idp.tenant.organization):
        assert not DirectoryUser.objects.exists()


def test_only_json_is_read(idp: Idp) -> None:
    headers = {"authorization": f"Bearer {idp.secret}"}
    answer = Client(headers=headers).post(f"{BASE}/Users", "<user/>", content_type="application/xml")
    assert answer.status_code == 415


def test_if_match_keeps_a_change_that_nobody_saw(idp: Idp) -> None:
    made = idp.user()
    path, change = f"/Users/{made['id']}", {"op": "replace", "path": "title", "value": "Boss"}
    idp.patch(path, change, status=412, **{"if-match": 'W/"9"'})
    idp.patch(path, change, status=200, **{"if-match": 'W/"1"'})
    idp("PUT", path, made, 412, **{"if-match": 'W/"1"'})
    idp("DELETE", path, status=412, **{"if-match": 'W/"1"'})
    unchanged = idp("GET", path, status=304, **{"if-none-match": 'W/"2"'})
    assert (unchanged.content, unchanged["ETag"]) == (b"", 'W/"2"')
    same = idp.patch(path, change, status=200).data
    assert same["meta"]["version"] == 'W/"2"', "a PATCH that changes nothing is none"


def test_answers_have_the_attributes_that_are_asked_for(idp: Idp) -> None:
    made = idp.user(title="Boss")
    path = f"/Users/{made['id']}"
    few = idp("GET", f"{path}?attributes=title", status=200).data
    assert set(few) == {"schemas", "id", "title"}
    assert "title" not in idp("GET", f"{path}?excludedAttributes=title", status=200).data
    [listed] = idp("GET", "/Users?attributes=userName", status=200).data["Resources"]
    assert set(listed) == {"schemas", "id", "userName"}


def test_a_password_is_neither_kept_nor_shown(idp: Idp) -> None:
    made = idp.user(password="correct-horse-battery-9")
    with scope(idp.tenant.organization):
        row = DirectoryUser.objects.get(pk=made["id"])
        kept = json.dumps([row.data, row.search, *Exchange.objects.values_list("request", "answer")])
    assert "correct-horse" not in json.dumps(made) + kept
    assert not idp.found("/Users", 'password eq "correct-horse-battery-9"')


def test_pages_by_index_and_by_cursor_have_everybody_once(idp: Idp) -> None:
    made = [idp.user(f"u{n}", title=str(n % 2))["id"] for n in range(5)]
    page = idp("GET", "/Users?startIndex=2&count=2", status=200).data
    assert (page["schemas"], page["totalResults"], page["startIndex"], page["itemsPerPage"]) == ([LIST], 5, 2, 2)
    assert [one["id"] for one in page["Resources"]] == made[1:3]
    assert idp("GET", "/Users?count=0", status=200).data["totalResults"] == 5
    past = idp("GET", "/Users?startIndex=9&filter=userName%20pr", status=200).data
    assert (past["totalResults"], past["Resources"]) == (5, [])
    seen, query = [], "?cursor&count=2&sortBy=title&sortOrder=descending"
    back = ""
    while query:
        page = idp("GET", f"/Users{query}", status=200).data
        seen += [one["id"] for one in page["Resources"]]
        back = page.get("previousCursor", "")
        following = page.get("nextCursor")
        query = f"?cursor={following}&count=2&sortBy=title&sortOrder=descending" if following else ""
    assert seen == [made[3], made[1], made[4], made[2], made[0]]
    before = idp("GET", f"/Users?cursor={back}&count=2&sortBy=title&sortOrder=descending", status=200).data
    assert [one["id"] for one in before["Resources"]] == seen[2:4]
    refused = idp("GET", f"/Users?cursor={back}&count=2", status=400).data
    assert refused["scimType"] == "invalidCursor"


def test_a_search_at_the_root_finds_users_and_groups(idp: Idp) -> None:
    user = idp.user("ada", displayName="Ada")
    group = idp.group("Ada", user["id"])
    assert set(idp.found("", 'displayName eq "ada"')) == {user["id"], group["id"]}
    assert idp.found("", f'members.value eq "{user["id"]}"') == [group["id"]]
    assert idp.found("/Users", f'groups.value eq "{group["id"]}"') == [user["id"]]
    assert idp("GET", "/?count=1", status=200).data["totalResults"] == 2


def test_totals_follow_what_is_made_and_deleted(idp: Idp) -> None:
    users = [idp.user()["id"] for _ in range(3)]
    idp("DELETE", f"/Users/{users[0]}", status=204)
    idp("POST", "/Users", {"schemas": [USER], "userName": "nobody"}, 409)
    with scope(idp.tenant.organization):
        assert Directory.objects.get().user_count == DirectoryUser.objects.count() == 2


def bulk(idp: Idp, *operations: dict[str, Any], **more: Any) -> Any:
    """What became of the operations."""
    body = {"schemas": [BULK], "Operations": list(operations), **more}
    return idp("POST", "/Bulk", body, 200).data["Operations"]


def posted(idp: Idp, number: int, **more: Any) -> dict[str, Any]:
    """A bulk operation that makes a user."""
    email = f"bulk{number}@{idp.domain}"
    data = {"schemas": [USER], "userName": email, **more}
    return {"method": "POST", "path": "/Users", "bulkId": f"u{number}", "data": data}


def test_bulk_makes_what_refers_to_each_other(idp: Idp) -> None:
    members = [{"value": "bulkId:u1"}, {"value": "bulkId:u2"}]
    group = {"schemas": [GROUP], "displayName": "Bulk", "members": members}
    made = bulk(
        idp,
        {"method": "POST", "path": "/Groups", "bulkId": "g", "data": group},
        posted(idp, 1),
        posted(idp, 2),
    )
    assert [one["status"] for one in made] == ["201", "201", "201"]
    read = idp("GET", made[0]["location"].removeprefix(f"http://testserver{BASE}"), status=200).data
    assert {one["$ref"] for one in read["members"]} == {one["location"] for one in made[1:]}


def test_what_fails_in_bulk_is_undone_alone(idp: Idp) -> None:
    foreign = posted(idp, 2)
    foreign["data"]["userName"] = "somebody@elsewhere.example.com"
    done = bulk(idp, posted(idp, 1), foreign, posted(idp, 3))
    assert [one["status"] for one in done] == ["201", "409", "201"]
    assert "Verify the domain" in done[1]["response"]["detail"]
    with scope(idp.tenant.organization):
        assert Directory.objects.get().user_count == DirectoryUser.objects.count() == 2
    path = "/Users/" + done[0]["location"].rpartition("/")[2]
    stop = bulk(
        idp,
        {"method": "PATCH", "path": "/Users/nobody", "data": {"Operations": [{"op": "remove", "path": "title"}]}},
        {"method": "DELETE", "path": path},
        failOnErrors=1,
    )
    assert [one["status"] for one in stop] == ["404"]
    idp("GET", path, status=200)


def test_bulk_has_limits(idp: Idp) -> None:
    many = {"schemas": [BULK], "Operations": [{"method": "DELETE", "path": "/Users/1"}] * 1_001}
    assert "maxOperations" in idp("POST", "/Bulk", many, 413).data["detail"]


def test_what_fails_without_a_reason_says_nothing_of_itself(
    idp: Idp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: Any) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(storage.DirectoryStorage, "documents", break_down)
    answer = idp("GET", "/Users", status=500)
    assert "secret" not in answer.content.decode()
    assert "the secret of the house" in caplog.text


def test_seats_are_a_limit_of_the_organization(idp: Idp) -> None:
    with scope(idp.tenant.organization):
        Organization.objects.update(member_limit=1)
    body = {"schemas": [USER], "userName": f"ada@{idp.domain}"}
    assert "seat" in idp("POST", "/Users", body, 403).data["detail"]
    idp("POST", "/Users", body | {"active": False}, 201)


def test_reads_cost_the_same_whatever_is_found(idp: Idp) -> None:
    people = [idp.user()["id"] for _ in range(4)]
    idp.group("All", *people)

    def cost(path: str) -> int:
        with CaptureQueriesContext(connection) as asked:
            idp("GET", path, status=200)
        return len(asked)

    assert cost("/Users?count=1") == cost("/Users")
    idp.group("Few", people[0])
    assert cost("/Groups?count=1") == cost("/Groups")
