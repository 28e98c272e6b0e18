"""What the console changes is counted as the API counts it; looking around is not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from billing.metering.models import UsageEvent
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.memory.capsules_for_tests import memory, store
from tests.capsule_cloud.web.test_memory import remember
from tests.factories import PASSWORD, Tenant

Counts = Callable[[], list[tuple[str, int, str]]]
Page = Callable[[str, dict[str, object]], int]
NOTICED = {"user_message": "Tea, remember this", "assistant_response": "Perfect, noted", "user_id": "ada"}
LATER = "2099-01-01T00:00"


@pytest.fixture
def page(owner: Client, home: str) -> Page:
    """Posts to a page of the console; the status of the answer."""
    return lambda path, form: owner.post(home + path, form).status_code


@pytest.fixture
def counts(tenant: Tenant) -> Counts:
    """What was counted since the last look: meter, quantity and end user."""
    seen = 0

    def look() -> list[tuple[str, int, str]]:
        nonlocal seen
        with scope(tenant.organization):
            events = list(UsageEvent.objects.order_by("id").values_list("meter", "quantity", "end_user"))
        fresh, seen = events[seen:], len(events)
        return fresh

    return look


def spooled() -> int:
    """Bytes of counted reads that wait on this machine."""
    return sum(path.stat().st_size for path in Path(settings.USAGE_SPOOL_DIR).glob("*") if path.is_file())


def test_a_changed_capsule_counts_as_over_the_api(tenant: Tenant, page: Page, counts: Counts) -> None:
    api = Api(tenant)
    one, two = store(tenant, memory("tea"), memory("milk"))
    changes: tuple[tuple[str, str, object, str, dict[str, object]], ...] = (
        ("PUT", "pin", None, "pin/", {"is_pinned": "1"}),
        ("DELETE", "pin", None, "pin/", {"is_pinned": "0"}),
        ("PUT", "tags", {"tags": ["x"]}, "tags/", {"tags": "x"}),
        ("PUT", "expiry", {"expires_at": f"{LATER}:00Z"}, "expiry/", {"expires_at": LATER}),
        ("POST", "fork", {"new_user_id": "bob"}, "fork/", {"new_user_id": "bob"}),
    )
    for method, route, body, path, form in changes:
        assert api(method, f"/api/v1/capsules/{one}/{route}", body).status_code == 200
        by_api = counts()
        assert page(f"memory/default/{path}", {"id": two, **form}) == 302
        assert counts() == by_api != [], path
    api.post("/api/v1/capsules/merge", {"capsule_ids": [one, two]})
    by_api = counts()
    assert page("memory/default/merge/", {"id": [one, two], "title": "Both"}) == 302
    assert counts() == by_api == [("write", 1, "ada")]


def test_exports_imports_and_deletions_count_as_over_the_api(
    tenant: Tenant, owner: Client, page: Page, counts: Counts
) -> None:
    api = Api(tenant)
    one, two = store(tenant, memory("tea"), memory("milk"))
    api.get(f"/api/v1/capsules/{one}/export?format=json")
    by_api = counts()
    assert page("memory/default/export/", {"id": two, "file_format": "json"}) == 200
    assert counts() == by_api == [("export", 1, "")]
    content = api.get(f"/api/v1/capsules/{one}/export?format=json").content
    counts()
    api.client.post(
        "/api/v1/capsules/import",
        {"file": SimpleUploadedFile("a.json", content), "user_id": "eve"},
        headers=tenant.headers,
    )
    by_api = counts()
    assert page("memory/default/import/", {"file": SimpleUploadedFile("a.json", content), "user_id": "eve"}) == 302
    assert counts() == by_api == [("import", 1, "eve")]
    api.delete(f"/api/v1/capsules/{one}")
    by_api = counts()
    assert page("memory/default/delete/", {"id": two}) == 302
    assert counts() == by_api == [("delete", 1, "")]
    api.delete("/api/v1/users/ada")
    by_api = counts()
    owner.post("/account/reauthenticate/", {"password": PASSWORD})
    assert page("memory/default/forget/", {"user": "ada", "confirmation": "ada"}) == 302
    assert counts() == by_api == [("delete", 1, "")]


def test_a_decision_and_a_seal_count_as_over_the_api(tenant: Tenant, page: Page, counts: Counts) -> None:
    api = Api(tenant)
    events = {}
    for session in ("one", "two"):
        api.post(f"/api/v1/sessions/{session}/ingest", NOTICED)
        [trigger] = api.get(f"/api/v1/sessions/{session}/triggers").json()["triggers"]
        events[session] = trigger["event_id"]
    counts()
    api.post(f"/api/v1/sessions/one/triggers/{events['one']}/confirm", {"resolution": "ignore"})
    by_api = counts()
    page("sessions/default/triggers/", {"id": "two", "event": events["two"], "resolution": "ignore"})
    assert counts() == by_api != []
    api.post("/api/v1/sessions/one/seal")
    by_api = counts()
    page("sessions/default/seal/", {"id": "two"})
    assert counts() == by_api != []


def test_what_is_refused_counts_for_nothing(tenant: Tenant, page: Page, counts: Counts) -> None:
    [one] = store(tenant, memory("tea"))
    assert page("memory/default/expiry/", {"id": one, "expires_at": "2001-01-01T00:00"}) == 302
    assert page("memory/default/export/", {"id": one, "file_format": "json", "passphrase": "short"}) == 302
    assert page("memory/default/pin/", {"id": "nothing", "is_pinned": "1"}) == 404
    assert page("memory/default/merge/", {"id": one, "title": "Alone"}) == 302
    assert counts() == []


def test_looking_around_is_free(tenant: Tenant, owner: Client, home: str, counts: Counts) -> None:
    one, two = remember(tenant, "Tea", "They drink tea"), remember(tenant, "Milk", "They drink milk")
    before = spooled()
    for path in (
        "memory/?q=tea",
        f"memory/default/?id={one}",
        f"memory/default/compare/?id={one}&id={two}",
        "sessions/",
        "sessions/default/?id=about%20Tea/?%26",
    ):
        assert owner.get(home + path).status_code == 200
    assert counts() == []
    assert spooled() == before
