"""Capsules over HTTP: the engine's routes and ours, files, recall, end users."""

import base64
import re
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.files.uploadedfile import SimpleUploadedFile

from capsule_cloud.memory.models import Capsule
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant

PASSPHRASE = "längeres Losungswort"


def remember(api: Api, user: str = "ada", fact: str = "drinks green tea", **more: Any) -> str:
    session = re.sub(r"\W", "-", f"{user}-{fact}")
    turn = {"user_message": f"I {fact}", "assistant_response": "Noted", "user_id": user}
    api.post(f"/api/v1/sessions/{session}/ingest", turn)
    body = {"facts": [{"key": "habit", "value": fact}], "summary": fact, "title": fact} | more
    capsule: str = api.post(f"/api/v1/sessions/{session}/seal", body).json()["capsule_id"]
    return capsule


def send_file(
    api: Api, content: bytes, name: str = "c.json", headers: dict[str, str] | None = None, **form: str
) -> Any:
    form_data = {"file": SimpleUploadedFile(name, content)} | form
    return api.client.post("/api/v1/capsules/import", form_data, headers=api.tenant.headers | (headers or {}))


def test_the_list_is_filtered_paged_and_newest_first(api: Api) -> None:
    first = remember(api, tags=["a", "b"])
    second = remember(api, fact="runs", tags=["a"])
    third = remember(api, user="bob", fact="swims")
    rows = api.get("/api/v1/capsules").json()
    assert [row["capsule_id"] for row in rows] == [third, second, first]
    assert set(rows[0]) == {"capsule_id", "type", "title", "tags", "sealed_at", "turn_count", "status"}
    assert [row["capsule_id"] for row in api.get("/api/v1/capsules?limit=1&offset=1").json()] == [second]
    assert [row["capsule_id"] for row in api.get("/api/v1/capsules?user_id=ada&tags=a, b").json()] == [first]
    assert len(api.get("/api/v1/capsules?type=hybrid").json()) == 3
    assert api.get("/api/v1/capsules?type=skill").json() == []


@pytest.mark.parametrize(
    ("query", "where", "kind"),
    [
        ("type=nope", "type", "enum"),
        ("limit=0", "limit", "greater_than_equal"),
        ("limit=101", "limit", "less_than_equal"),
        ("limit=x", "limit", "int_parsing"),
        ("offset=-1", "offset", "greater_than_equal"),
        ("offset=99999999999999999999", "offset", "int_parsing"),
        ("user_id=a%00b", "user_id", "string_unicode"),
    ],
)
def test_a_wrong_query_is_refused_in_fastapis_form(api: Api, query: str, where: str, kind: str) -> None:
    answer = api.get(f"/api/v1/capsules?{query}")
    assert answer.status_code == 422
    [problem] = answer.json()["detail"]
    assert (problem["type"], problem["loc"]) == (kind, ["query", where])
    assert problem["msg"]


def test_a_capsule_is_read_and_deleted(api: Api) -> None:
    capsule = remember(api)
    path = f"/api/v1/capsules/{capsule}"
    whole = api.get(path).json()
    assert (whole["capsule_id"], whole["identity"]["user_id"]) == (capsule, "ada")
    assert "drinks green tea" in api.get(f"{path}/prompt-snippet").json()["text"]
    assert api.delete(path).json() == {"deleted": True, "capsule_id": capsule}
    for answer in (api.get(path), api.delete(path), api.get(f"{path}/prompt-snippet")):
        assert (answer.status_code, answer.json()) == (404, {"detail": f"Capsule {capsule} not found"})


def test_whoever_names_an_end_user_reaches_only_their_capsules(api: Api) -> None:
    capsule = remember(api, user="alice")
    path = f"/api/v1/capsules/{capsule}"
    for suffix in ("", "/prompt-snippet", "/export", f"/diff/{capsule}"):
        assert api.get(f"{path}{suffix}?user_id=alice").status_code == 200, suffix
        assert api.get(f"{path}{suffix}?user_id=mallory").status_code == 404, suffix
    for method, suffix, body in (
        ("POST", "/fork", {"new_user_id": "mallory", "user_id": "mallory"}),
        ("PUT", "/pin?user_id=mallory", None),
        ("PUT", "/tags?user_id=mallory", {"tags": []}),
        ("PUT", "/expiry?user_id=mallory", {}),
        ("DELETE", "?user_id=mallory", None),
    ):
        assert api(method, f"{path}{suffix}", body).status_code == 404, suffix
    assert api.delete(f"{path}?user_id=alice").status_code == 200


def test_a_strangers_capsule_does_not_exist(api: Api, stranger: Tenant) -> None:
    capsule, other = remember(api), Api(stranger)
    own = remember(other)
    path = f"/api/v1/capsules/{capsule}"
    answers = [
        other.get(path),
        other.delete(path),
        other.get(f"{path}/prompt-snippet"),
        other.get(f"{path}/export"),
        other.get(f"{path}/diff/{own}"),
        other.get(f"/api/v1/capsules/{own}/diff/{capsule}"),
        other.post(f"{path}/fork", {"new_user_id": "me"}),
        other("PUT", f"{path}/pin"),
        other.delete(f"{path}/pin"),
        other("PUT", f"{path}/tags", {"tags": []}),
        other("PUT", f"{path}/expiry", {}),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert other.post("/api/v1/capsules/merge", {"capsule_ids": [capsule, own]}).status_code == 400
    assert other.get("/api/v1/recall?query=tea&user_id=ada").json()["sources"] == [own]
    assert api.get(path).status_code == 200


@pytest.mark.parametrize("capsule", ["..%2F..%2Foutside", "../../x", "%00", "cap_" + "x" * 300, "merge", "import"])
def test_ids_of_no_capsule_are_not_found(api: Api, capsule: str) -> None:
    assert api.get(f"/api/v1/capsules/{capsule}").status_code in {404, 405}
    answer = api.post("/api/v1/capsules/merge", {"capsule_ids": [capsule, "../../out/a"]})
    assert answer.status_code == 400


def test_capsules_are_merged_for_one_end_user_only(api: Api) -> None:
    ids = [remember(api), remember(api, fact="runs")]
    merged = api.post("/api/v1/capsules/merge", {"capsule_ids": ids, "title": "Both"}).json()
    assert (merged["title"], merged["turn_count"]) == ("Both", 4)
    assert merged["capsule_id"] not in ids
    assert len(api.get("/api/v1/capsules").json()) == 3
    too_few = api.post("/api/v1/capsules/merge", {"capsule_ids": ids[:1]})
    assert (too_few.status_code, too_few.json()) == (400, {"detail": "At least 2 capsule_ids are required for merge"})
    of_two = api.post("/api/v1/capsules/merge", {"capsule_ids": [ids[0], remember(api, user="bob")]})
    assert of_two.status_code == 400


def test_a_capsule_is_forked_and_compared(api: Api) -> None:
    capsule = remember(api)
    fork = api.post(f"/api/v1/capsules/{capsule}/fork", {"new_user_id": "bob", "tags": ["copy"]}).json()
    assert (fork["user_id"], fork["tags"], fork["status"]) == ("bob", ["copy"], "imported")
    same = api.get(f"/api/v1/capsules/{capsule}/diff/{fork['capsule_id']}").json()
    assert (same["facts_delta"], same["summary_changed"]) == (0, False)
    other = api.get(f"/api/v1/capsules/{capsule}/diff/{remember(api, fact='runs')}").json()
    assert other["modified_facts"][0]["new_value"] == "runs"


def test_a_capsule_is_pinned_tagged_and_dated(api: Api) -> None:
    path = f"/api/v1/capsules/{remember(api)}"
    future = "2999-01-31T12:00:00Z"
    assert api("PUT", f"{path}/expiry", {"expires_at": future}).json()["expires_at"].startswith("2999-01-31T12:00:00")
    pinned = api("PUT", f"{path}/pin").json()
    assert (pinned["is_pinned"], pinned["expires_at"]) == (True, None)
    assert api("PUT", f"{path}/expiry", {"expires_at": future}).status_code == 400
    assert api.delete(f"{path}/pin").json()["is_pinned"] is False
    assert api("PUT", f"{path}/tags", {"tags": ["b", "a", "b"]}).json()["tags"] == ["b", "a"]
    for wrong in ("2001-01-01T00:00:00Z", "2999-01-01T00:00:00", "soon", 7):
        assert api("PUT", f"{path}/expiry", {"expires_at": wrong}).status_code in {400, 422}
    assert api("PUT", f"{path}/tags", {}).status_code == 422


def test_an_export_is_signed_by_the_organization_and_comes_back(api: Api) -> None:
    capsule = remember(api)
    file = api.get(f"/api/v1/capsules/{capsule}/export")
    assert file.headers["Content-Disposition"] == f"attachment; filename={capsule}.json"
    signature = file.headers["X-Capsule-Signature"]
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(file.headers["X-Capsule-Signature-Key"]))
    public.verify(base64.b64decode(signature), file.content)
    made = send_file(api, file.content, user_id="bob", signature=signature)
    assert made.status_code == 200
    assert made.json()["is_renamed"] is True
    assert made.json()["capsule_id"] != capsule
    forged = file.content.replace(b"green", b"black")
    assert send_file(api, forged, user_id="bob", signature=signature).status_code == 400


@pytest.mark.parametrize(
    ("kind", "ending", "content_type"),
    [
        ("json", "json", "application/json"),
        ("msgpack", "capsule", "application/octet-stream"),
        ("universal", "json", "application/json"),
        ("prompt", "txt", "text/plain"),
    ],
)
def test_every_format_goes_out_and_comes_back(api: Api, kind: str, ending: str, content_type: str) -> None:
    capsule = remember(api)
    file = api.get(f"/api/v1/capsules/{capsule}/export?format={kind}")
    assert file.headers["Content-Type"].startswith(content_type)
    assert file.headers["Content-Disposition"].endswith(f"{capsule}.{ending}")
    assert send_file(api, file.content, name=f"x.{ending}", user_id="carol").status_code == 200


def test_encrypted_means_encrypted_and_the_passphrase_need_not_be_in_the_url(api: Api) -> None:
    path = f"/api/v1/capsules/{remember(api)}/export"
    header = {"X-Passphrase": PASSPHRASE.encode().decode("latin-1")}  # as a server hands UTF-8 over
    file = api.get(f"{path}?encrypt=true", **header)
    assert b"green tea" not in file.content.partition(b'"payload"')[2]
    assert orjson.loads(file.content)["integrity"]["encrypted"] is True
    again = api.get(f"{path}?encrypt=true&passphrase={quote(PASSPHRASE)}")
    assert again.status_code == 200
    made = send_file(api, file.content, user_id="ada", headers=header)
    assert made.status_code == 200
    assert send_file(api, file.content, user_id="ada", passphrase=PASSPHRASE).status_code == 200
    assert send_file(api, file.content, user_id="ada", passphrase="another one").status_code == 400
    for query in ("encrypt=true", "encrypt=true&passphrase=short", "encrypt=1&format=prompt&passphrase=longer-than-8"):
        assert api.get(f"{path}?{query}").status_code == 400
    assert api.get(f"{path}?encrypt=perhaps").status_code == 422
    assert api.get(f"{path}?format=yaml").status_code == 422
    assert api.get(f"{path}?encrypt=true", **{"X-Passphrase": "\xff\xfe-no-utf-8"}).status_code == 400


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("c.json", b"", 400),
        ("c.json", b"{}", 400),
        ("c.json", b"[" * 100_000, 400),
        ("c.json", b"\xff\xfe", 400),
        ("c.capsule", b"\xdd\xff\xff\xff\xff", 400),
        ("../../c.json", b"{}", 400),
        ("c.json", b" " * (10 * 2**20 + 1), 413),
    ],
    ids=["empty", "no capsule", "deep", "no text", "msgpack bomb", "path", "large"],
)
def test_a_file_that_is_no_capsule_changes_nothing(api: Api, name: str, content: bytes, status: int) -> None:
    assert send_file(api, content, name=name).status_code == status
    with scope(api.tenant.organization):
        assert not Capsule.objects.exists()


def test_an_upload_without_a_file_or_form_is_refused(api: Api) -> None:
    answer = api.client.post("/api/v1/capsules/import", {"user_id": "ada"}, headers=api.tenant.headers)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "file"])
    broken = api.client.generic(
        "POST",
        "/api/v1/capsules/import",
        b"--x\r\nbroken",
        content_type="multipart/form-data; boundary=",
        headers=api.tenant.headers,
    )
    assert broken.status_code == 400


def test_recall_speaks_the_engines_language_and_the_clients(api: Api) -> None:
    capsule = remember(api)
    answer = api.get("/api/v1/recall?q=green+tea&user_id=ada&top_k=1").json()
    assert set(answer) == {"facts", "skills", "summary", "prompt_injection", "sources"}
    assert answer["sources"] == [capsule]
    assert answer["facts"][0]["value"] == "drinks green tea"
    assert api.get("/api/v1/recall?query=green+tea").json()["sources"] == []  # that is the user "default"


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("query=", 400), ("query=x&top_k=0", 422), ("query=x&top_k=11", 422), ("query=a%00b", 422)],
)
def test_a_recall_without_a_question_is_refused(api: Api, query: str, status: int) -> None:
    assert api.get(f"/api/v1/recall?{query}").status_code == status


def test_end_users_are_listed_and_forgotten_with_exact_counts(api: Api) -> None:
    for fact in ("drinks green tea", "runs"):
        remember(api, user="a/b|c", fact=fact)
    remember(api, user="bob")
    api.post("/api/v1/sessions/open/ingest", {"user_message": "x", "assistant_response": "y", "user_id": "a/b|c"})
    users = api.get("/api/v1/users").json()
    assert [(user["user_id"], user["capsules"]) for user in users["users"]] == [("a/b|c", 2), ("bob", 1)]
    assert api.get("/api/v1/users?starts_with=bo&limit=1").json()["count"] == 1
    gone = api.delete("/api/v1/users/a%2Fb%7Cc").json()
    assert gone == {"user_id": "a/b|c", "capsules": 2, "sessions": 3, "turns": 6, "triggers": 0}
    assert [user["user_id"] for user in api.get("/api/v1/users").json()["users"]] == ["bob"]
    assert api.get("/api/v1/recall?query=tea&user_id=a/b|c").json()["sources"] == []


@pytest.mark.parametrize("user", ["山田", "josé", "a b", "auth0|x/y"])
def test_an_end_user_of_any_name_can_be_forgotten(api: Api, user: str) -> None:
    remember(api, user=user)
    assert api.delete(f"/api/v1/users/{quote(user, safe='')}").json()["capsules"] == 1


def test_forgetting_stays_within_the_project(api: Api, stranger: Tenant) -> None:
    remember(api)
    gone = Api(stranger).delete("/api/v1/users/ada").json()
    assert (gone["capsules"], gone["sessions"]) == (0, 0)
    assert len(api.get("/api/v1/capsules").json()) == 1


def test_deleting_needs_its_own_scope(db: None) -> None:
    api = Api(make_tenant(["memory:read", "memory:write"]))
    capsule = remember(api)
    for path in (f"/api/v1/capsules/{capsule}", "/api/v1/users/ada"):
        answer = api.delete(path)
        assert (answer.status_code, answer.json()) == (403, {"detail": "This key lacks the scope memory:delete."})
