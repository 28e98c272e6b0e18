"""The console's streams: what an empty page teaches, a secret shown once, tests, pauses, replays, what was refused."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser

from tenancy.audit.streams.models import DeadLetter, Delivery, Stream
from tenancy.scope import scope
from tenancy.webhooks import delivery
from tests.capsule_cloud.web.browser import visit
from tests.capsule_cloud.web.stream_things import make_stream_things
from tests.factories import Tenant
from tests.live import LiveServer
from tests.targets import Target, says

Page = Callable[..., str]


@pytest.fixture(autouse=True)
def _hang_up() -> Iterator[None]:
    """Leave no connection open to a server that is gone."""
    yield
    delivery.door().close()
    delivery.door.cache_clear()


def test_an_empty_page_teaches(page: Page) -> None:
    assert "Watch the log where you watch yours" in page("audit/streams/")


def test_a_webhook_is_added_and_its_secret_is_shown_once(tenant: Tenant, page: Page, post: Page) -> None:
    form = {"name": "Mine", "url": "https://siem.example.com/in", "has_people": "on"}
    text = post("audit/streams/new/?kind=https", form)
    assert "whsec_" in text
    with scope(tenant.organization):
        stream = Stream.objects.get()
    assert "This secret was shown already" in page(f"audit/streams/{stream.pk}/secret/")
    assert "whsec_" not in page(f"audit/streams/{stream.pk}/")
    assert "whsec_" in post(f"audit/streams/{stream.pk}/rotate/", {"overlap": "3600"})
    assert "Mine" in page("audit/streams/")


@pytest.mark.parametrize("kind", ["splunk", "datadog", "https", "syslog", "s3", "gcs", "azure"])
def test_every_kind_has_its_form_and_says_what_is_wrong(page: Page, post: Page, kind: str) -> None:
    assert "Add stream" in page(f"audit/streams/new/?kind={kind}")
    assert "This field is required" in post(f"audit/streams/new/?kind={kind}", {"name": ""}, status=422)


def test_an_unknown_kind_is_not_there(page: Page) -> None:
    page("audit/streams/new/?kind=fax", 404)


def test_a_wrong_address_is_said_at_its_field(post: Page) -> None:
    form = {"name": "Mine", "url": "https://10.0.0.1/", "token": "secret-token"}
    text = post("audit/streams/new/?kind=splunk", form, status=422)
    assert "public internet" in text
    assert "secret-token" not in text


def test_a_stream_is_tested_paused_replayed_and_deleted(tenant: Tenant, page: Page, post: Page) -> None:
    things = make_stream_things(tenant)
    path = f"audit/streams/{things['audit_stream_id']}/"
    with Target() as target:
        with scope(tenant.organization):
            Stream.objects.update(options={"url": target.url}, next_seq=0)
        assert "The test arrived." in post(f"{path}test/")
        assert "The event arrived." in post(f"{path}resend/{things['dead_letter_id']}/")
        target.behaviour = says(400, b"no")
        assert "It did not arrive. Answered 400." in post(f"{path}test/")
    assert "by one of you" in post(f"{path}switch/")
    text = page("audit/streams/")
    assert 'badge-bad">paused<' in text
    assert "it goes on where it was" not in text, "who paused it needs no alarm"
    with scope(tenant.organization):
        Stream.objects.update(state_reason="Nothing arrived for a day.")
    assert "Nothing arrived for a day. Nothing is lost: it goes on where it was." in page("audit/streams/")
    assert "notice-bad" in page(path)
    assert "The stream goes on where it was." in post(f"{path}switch/", {"on": "1"})
    assert "at place 1." in post(f"{path}replay/", {"seq": "1"})
    assert "Choose a place" in post(f"{path}replay/", {"seq": "100000"}, status=422)
    assert "Saved" in post(f"{path}edit/", {"name": "Renamed", "url": target.url})
    assert "Renamed" in page(path)
    assert "The stream is deleted." in post(f"{path}delete/")
    page(path, 404)


def test_who_may_not_export_sees_nothing_of_it(tenant: Tenant, viewer: Client, home: str) -> None:
    things = make_stream_things(tenant)
    for path in ("audit/streams/", f"audit/streams/{things['audit_stream_id']}/"):
        assert viewer.get(home + path).status_code == 403


@pytest.mark.browser
@pytest.mark.usefixtures("may_wait")
def test_pages_have_no_serious_violation_and_fit_on_a_phone(
    live: LiveServer, live_tenant: Tenant, chromium: Browser
) -> None:
    home = f"/o/{live_tenant.organization.slug}/"
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        visitor.go(f"{home}audit/streams/")
        assert visitor.serious_violations() == []
        things = make_stream_things(live_tenant)
        with scope(live_tenant.organization):
            now = timezone.now()
            Stream.objects.update(failures=3, failing_since=now - timedelta(hours=2), due_at=now + timedelta(minutes=3))
            stream = Stream.objects.get()
            shared = {"stream": stream, "bytes": 9_000, "started_at": now, "milliseconds": 41}
            said = {"status": 503, "sentence": "Answered 503.", "answer": "<h1>Busy</h1>", "has_arrived": False}
            Delivery.objects.create(first=0, count=12, **shared, **said)
            Delivery.objects.create(first=0, count=12, status=200, sentence="Answered 200.", has_arrived=True, **shared)
            assert DeadLetter.objects.count() == 1
        path = f"audit/streams/{things['audit_stream_id']}/"
        pages = ("audit/streams/", "audit/streams/new/", path, f"{path}edit/", f"{path}replay/", f"{path}rotate/")
        for one in pages:
            page = visitor.go(home + one)
            assert visitor.serious_violations() == []
            page.set_viewport_size({"width": 390, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            page.set_viewport_size({"width": 1280, "height": 800})
        assert visitor.complaints == []
