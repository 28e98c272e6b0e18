"""Exports by API: asked for, written, downloaded and resumed; stores and schedules without their secrets."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.test import Client

from capsule_cloud.lib import downloads, storage
from tenancy.audit.exports import targets, turns, writing
from tenancy.audit.exports.models import Export
from tenancy.roles import KeyScope
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.web.audit_things import make_audit_things
from tests.factories import Tenant, make_tenant
from tests.live import LiveServer
from tests.sealing import seal_all
from tests.trail import audited

STORE = {
    "name": "Archive",
    "kind": "s3",
    "options": {"bucket": "corp-audit", "region": "eu-central-1"},
    "secrets": {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "hunter2"},
}


@pytest.fixture(autouse=True)
def _exports_dir(tmp_path: Path, settings: Any) -> Iterator[None]:
    """Where exports are written and kept."""
    settings.EXPORTS_DIR = str(tmp_path / "exports")
    storage.own.cache_clear()
    yield
    storage.own.cache_clear()


@pytest.fixture
def exporter(db: None) -> Api:
    """A key that may export, and nothing else."""
    return Api(make_tenant([KeyScope.AUDIT_EXPORT]))


def written(api: Api, **asked: Any) -> dict[str, Any]:
    """An export that is ready."""
    made = api.post("/v1/audit/exports", asked)
    assert made.status_code == 202
    seal_all()
    turn = turns.claim()
    assert turn is not None
    writing.attend(turn)
    found: dict[str, Any] = api.get(f"/v1/audit/exports/{made.json()['id']}").json()
    return found


def path_of(url: str) -> str:
    """A URL without its server."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def test_an_export_is_asked_for_and_downloaded_and_a_download_goes_on(exporter: Api) -> None:
    export = written(exporter, format="jsonl")
    assert (export["state"], export["progress"]) == ("ready", 100)
    assert [one["holds"] for one in export["files"]] == ["events", "names", "hashes", "manifest"]
    url = path_of(export["files"][0]["url"])
    whole = exporter.get(url)
    content = b"".join(whole.streaming_content)
    assert (whole.status_code, len(content)) == (200, export["files"][0]["bytes"])
    assert content.count(b"\n") == export["events"]
    part = exporter.get(url, Range=f"bytes={len(content) - 7}-")
    assert (part.status_code, b"".join(part.streaming_content)) == (206, content[-7:])
    assert exporter.get(url, Range="bytes=999999999-").status_code == 416
    with scope(exporter.tenant.organization):
        assert len(audited("audit.export.downloaded")) == 1  # going on is no second download
    assert exporter.get("/v1/audit/exports").json()["data"][0]["id"] == export["id"]


def test_a_link_opens_nothing_for_anybody_else(exporter: Api, stranger: Tenant) -> None:
    url = path_of(written(exporter)["files"][0]["url"])
    other = Api(make_tenant([KeyScope.AUDIT_EXPORT]))
    assert other.get(url).status_code == 404
    assert Api(make_tenant([KeyScope.AUDIT_READ])).get(url).status_code == 403
    assert exporter.get(url.partition("?")[0]).status_code == 404


def test_too_many_downloads_are_asked_to_wait(exporter: Api) -> None:
    url = path_of(written(exporter)["files"][0]["url"])
    under_way = [exporter.get(url) for _ in range(downloads.AT_ONCE)]
    assert exporter.get(url).status_code == 503
    for one in under_way:
        b"".join(one.streaming_content)
    again = exporter.get(url)
    assert again.status_code == 200
    b"".join(again.streaming_content)


LARGE = 64 * 2**20  # bytes: more than the sockets between server and client take up


def hang_up_early(client: httpx.Client, address: str) -> int:
    """The status of a download that is left after its first bytes; while the server sees no end of others, it waits."""
    until = time.monotonic() + 30
    while True:
        with client.stream("GET", address) as answer:
            if answer.status_code != 503 or time.monotonic() > until:
                assert next(answer.iter_raw())
                return answer.status_code


def test_the_real_server_makes_room_when_a_client_hangs_up_or_asks_for_the_headers_alone(
    transactional_db: None, settings: Any, tmp_path: Path
) -> None:
    tenant = make_tenant([KeyScope.AUDIT_EXPORT])
    things = make_audit_things(tenant)
    with scope(tenant.organization):
        export = Export.objects.get()
        Export.objects.update(files=[export.files[0] | {"bytes": LARGE}])
    with (tmp_path / "large").open("wb") as file:
        file.truncate(LARGE)
    storage.own().put(f"{export.folder}/{things['name']}", tmp_path / "large")
    path = f"audit/exports/{things['audit_export_id']}/files/{things['name']}?link={things['link']}"
    browser = Client()
    browser.force_login(tenant.owner)
    cookies = {name: cookie.value for name, cookie in browser.cookies.items()}
    with (
        LiveServer(workers=1, EXPORTS_DIR=settings.EXPORTS_DIR) as server,
        httpx.Client(headers=tenant.headers, timeout=60) as program,
        httpx.Client(cookies=cookies, timeout=60) as person,
    ):
        api, page = f"{server.url}/v1/{path}", f"{server.url}/o/{tenant.organization.slug}/{path}"
        often = range(3 * downloads.AT_ONCE)
        for client, address in ((program, api), (person, page)):
            assert {hang_up_early(client, address) for _ in often} == {200}
        heads = [person.head(page) for _ in often]
        assert {(one.status_code, one.headers["Content-Length"]) for one in heads} == {(200, str(LARGE))}
        assert program.head(api).status_code == 405
        assert hang_up_early(program, api) == 200


def test_an_export_that_is_deleted_offers_nothing(exporter: Api) -> None:
    export = written(exporter)
    assert exporter.delete(f"/v1/audit/exports/{export['id']}").status_code == 204
    assert exporter.get(f"/v1/audit/exports/{export['id']}").json()["files"] == []
    assert exporter.get(path_of(export["files"][0]["url"])).status_code == 404
    queued = exporter.post("/v1/audit/exports", {}).json()
    assert exporter.delete(f"/v1/audit/exports/{queued['id']}").status_code == 204
    assert exporter.get(f"/v1/audit/exports/{queued['id']}").json()["state"] == "cancelled"
    assert exporter.post(f"/v1/audit/exports/{export['id']}/send").status_code == 409


def test_stores_are_managed_without_showing_a_secret(exporter: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = exporter.post("/v1/audit/targets", STORE)
    assert made.status_code == 201
    path = f"/v1/audit/targets/{made.json()['id']}"
    shown = made.content + exporter.get(path).content + exporter.get("/v1/audit/targets").content
    assert b"hunter2" not in shown
    assert b"AKIA" not in shown
    assert exporter.patch(path, {"name": "Other"}).json()["name"] == "Other"
    assert exporter.patch(path, {"options": {"bucket": "elsewhere", "region": "x"}}).status_code == 422
    assert exporter.post("/v1/audit/targets", {**STORE, "kind": "https", "secrets": {}}).status_code == 422
    monkeypatch.setattr(targets, "test", lambda **_: "The store does not answer.")
    outcome = exporter.post(f"{path}/test").json()
    assert outcome == {"has_worked": False, "failure": "The store does not answer."}
    schedule = {"name": "Daily", "every": "day", "target_id": made.json()["id"], "format": "parquet"}
    planned = exporter.post("/v1/audit/schedules", schedule)
    assert planned.status_code == 201
    assert exporter.delete(path).status_code == 409
    later = f"/v1/audit/schedules/{planned.json()['id']}"
    assert exporter.patch(later, {"is_paused": True}).json()["is_paused"] is True
    assert [one["name"] for one in exporter.get("/v1/audit/schedules").json()["data"]] == ["Daily"]
    assert exporter.delete(later).status_code == 204
    assert exporter.delete(path).status_code == 204
    assert exporter.get(path).status_code == 404


@pytest.mark.parametrize(
    ("asked", "field"),
    [({"format": "xml"}, "format"), ({"since": "yesterday"}, "since"), ({"action": "x" * 65}, "action")],
)
def test_what_no_export_can_be_is_refused(exporter: Api, asked: dict[str, Any], field: str) -> None:
    answer = exporter.post("/v1/audit/exports", asked)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [field]
