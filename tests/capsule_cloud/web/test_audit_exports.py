"""The console's exports: what an empty page teaches, a form that is wrong, progress, files, and stores with secrets."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser

from capsule_cloud.lib import storage
from tenancy.audit.exports import turns, writing
from tenancy.audit.exports.models import Export, Schedule, Target
from tenancy.scope import scope
from tests.capsule_cloud.web.audit_things import CONTENT, make_audit_things
from tests.capsule_cloud.web.browser import visit
from tests.factories import Tenant
from tests.live import LiveServer
from tests.sealing import seal_all

Page = Callable[..., str]


@pytest.fixture(autouse=True)
def exports_dir(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """Where exports are written and kept."""
    settings.EXPORTS_DIR = str(tmp_path / "exports")
    storage.own.cache_clear()
    yield tmp_path / "exports"
    storage.own.cache_clear()


def test_an_empty_page_teaches(page: Page) -> None:
    text = page("audit/exports/")
    assert "Take the log with you" in text
    assert "Add a store of yours" in text
    assert "audit/exports/" in page("audit/")


def test_an_export_is_asked_for_written_and_downloaded(
    tenant: Tenant, page: Page, post: Page, owner: Client, home: str
) -> None:
    seal_all()
    text = post("audit/exports/new/", {"format": "jsonl", "compression": "none", "has_people": "on"})
    assert "The export is queued" in text
    assert "queued" in text
    assert 'hx-trigger="every 1s"' in text
    assert "It waits for its turn" in text
    turn = turns.claim()
    assert turn is not None
    writing.attend(turn)
    with scope(tenant.organization):
        export = Export.objects.get()
    text = page(f"audit/exports/{export.pk}/")
    assert "hx-trigger" not in re.sub(r"<head>.*</head>", "", text, flags=re.DOTALL).partition('id="export"')[2][:200]
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]+/files/[^"]+)"', text)]
    assert len(links) == 4
    assert f"verify_audit.py export {export.label}.manifest.json" in text
    answer = owner.get(links[0])
    whole = b"".join(answer.streaming_content)  # type: ignore[attr-defined]  # a download
    assert whole.startswith(b'{"id":"')
    assert answer["Content-Length"] == str(len(whole))
    rest = owner.get(links[0], headers={"Range": "bytes=10-"})
    assert rest.status_code == 206
    assert b"".join(rest.streaming_content) == whole[10:]  # type: ignore[attr-defined]
    assert owner.get(links[0] + "x").status_code == 404
    assert Client().get(links[0]).status_code == 302  # the link alone opens nothing
    assert "ready" in page("audit/exports/")


def test_a_search_is_exported_as_it_was_searched_where_exports_can(page: Page, home: str) -> None:
    text = page("audit/?actor=ada&since=2026-11-01&until=2026-11-02")
    [link] = re.findall(r'href="([^"]+)">Export these events', text)
    assert link == f"{home}audit/exports/new/?actor=ada&amp;since=2026-11-01T00%3A00&amp;until=2026-11-03T00%3A00"
    form = page(link.removeprefix(home).replace("&amp;", "&"))
    assert 'value="ada"' in form
    assert 'value="2026-11-01T00:00"' in form
    assert 'value="2026-11-03T00:00"' in form
    for query in ("", "text=ada", "actor=ada&is_staff=on"):
        assert "Export these events" not in page(f"audit/?{query}"), "it would hold other events"


def test_an_export_from_before_the_first_seal_says_that_it_proves_nothing(tenant: Tenant, page: Page) -> None:
    things = make_audit_things(tenant)  # its export has a file of events, and no manifest
    text = page(f"audit/exports/{things['audit_export_id']}/")
    assert "Nothing was sealed yet when it was asked for" in text
    assert "verify-command" not in text


def test_a_schedule_says_when_its_next_file_comes(tenant: Tenant, page: Page) -> None:
    make_audit_things(tenant)
    with scope(tenant.organization):
        Schedule.objects.update(range_start=datetime(2026, 10, 31, tzinfo=UTC))
        assert "1 Nov 2026, 00:10 UTC" in page("audit/exports/")
        Schedule.objects.update(is_paused=True)
    assert "00:10 UTC" not in page("audit/exports/")


def test_who_may_not_export_sees_nothing_of_it(tenant: Tenant, viewer: Client, home: str) -> None:
    things = make_audit_things(tenant)
    for path in (
        "audit/exports/",
        f"audit/exports/{things['audit_export_id']}/files/{things['name']}?link={things['link']}",
    ):
        assert viewer.get(home + path).status_code == 403


def test_a_store_s_secrets_are_never_shown(tenant: Tenant, page: Page, post: Page) -> None:
    form = {"name": "Archive", "bucket": "corp-audit", "region": "eu-central-1", "access_key_id": "AKIAEXAMPLE"}
    text = post("audit/targets/new/?kind=s3", {**form, "secret_access_key": "hunter2"})
    assert "The store is added" in text
    with scope(tenant.organization):
        target = Target.objects.get()
    text += page(f"audit/targets/{target.pk}/") + page("audit/exports/")
    assert "hunter2" not in text
    assert "AKIAEXAMPLE" not in text
    text = post(f"audit/targets/{target.pk}/", {**form, "access_key_id": "", "name": "Other"})
    assert "Saved." in text
    text = post(f"audit/targets/{target.pk}/", {**form, "region": "x-1", "access_key_id": ""}, status=422)
    assert "Give the secrets again" in text
    assert "is forgotten" in post(f"audit/targets/{target.pk}/delete/")


def test_what_was_typed_wrong_is_said_where_it_stands(page: Page, post: Page) -> None:
    text = post("audit/targets/new/?kind=https", {"name": "x", "url": "https://10.0.0.1/"}, status=422)
    assert "public internet" in text
    assert "Address" in page("audit/targets/new/?kind=https")
    page("audit/targets/new/?kind=ftp", 404)
    wrong = {"format": "jsonl", "compression": "none", "since": "2026-02-01T00:00", "until": "2026-01-01T00:00"}
    assert "The end comes after the beginning" in post("audit/exports/new/", wrong, status=422)


def test_schedules_are_made_paused_and_deleted(tenant: Tenant, post: Page) -> None:
    things = make_audit_things(tenant)
    form = {"name": "Weekly", "every": "week", "format": "parquet", "compression": "none"}
    text = post("audit/schedules/new/", {**form, "store": things["audit_target_id"]})
    assert "The schedule is made" in text
    with scope(tenant.organization):
        schedule = Schedule.objects.get(name="Weekly")
    assert "It is paused" in post(f"audit/schedules/{schedule.pk}/pause/", {"pause": "1"})
    assert "It goes on" in post(f"audit/schedules/{schedule.pk}/pause/")
    assert "is deleted" in post(f"audit/schedules/{schedule.pk}/delete/")
    text = post(f"audit/targets/{things['audit_target_id']}/delete/")
    assert "A schedule puts exports into it" in text


def test_files_can_be_taken_back(tenant: Tenant, post: Page, owner: Client, home: str) -> None:
    things = make_audit_things(tenant)
    path = f"{home}audit/exports/{things['audit_export_id']}/files/{things['name']}?link={things['link']}"
    answer = owner.get(path)
    assert b"".join(answer.streaming_content) == CONTENT  # type: ignore[attr-defined]
    assert "nobody gets them" in post(f"audit/exports/{things['audit_export_id']}/end/")
    assert owner.get(path).status_code == 404


@pytest.mark.browser
@pytest.mark.usefixtures("may_wait")
def test_pages_have_no_serious_violation_and_fit_on_a_phone(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    home = f"/o/{live_tenant.organization.slug}/"
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        visitor.go(f"{home}audit/exports/")  # the empty page
        assert visitor.serious_violations() == []
        things = make_audit_things(live_tenant)
        with scope(live_tenant.organization):
            Export.objects.update(has_people=True, first=0, last=2, send_failure="The server answered 500.")
        for path in (
            "audit/exports/",
            "audit/exports/new/",
            f"audit/exports/{things['audit_export_id']}/",
            "audit/targets/new/",
            f"audit/targets/{things['audit_target_id']}/",
            "audit/schedules/new/",
        ):
            page = visitor.go(home + path)
            for fold in page.locator("details.fold").all():
                fold.evaluate("one => one.open = true")
            assert visitor.serious_violations() == []
            page.set_viewport_size({"width": 390, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.set_viewport_size({"width": 1280, "height": 800})
        assert visitor.complaints == []
