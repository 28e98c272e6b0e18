"""What the console says of how far behind seals and streams are."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from django.test import Client

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing.models import Checkpoint, Leaf
from tenancy.audit.services import Target, record
from tenancy.audit.streams.models import Stream
from tenancy.scope import scope
from tests.capsule_cloud.web.stream_things import make_stream_things
from tests.factories import Tenant
from tests.sealing import seal_all

Page = Callable[..., str]
WAITING = "wait for their seal, the oldest from"


def moments(page: str, words: str) -> list[str]:
    """The exact times that stand behind some words of a page."""
    return re.findall(rf'{words} <time datetime="([^"]+)"', page)


def test_the_list_and_the_page_of_a_stream_say_how_much_waits_and_since_when(tenant: Tenant, page: Page) -> None:
    path = f"audit/streams/{make_stream_things(tenant)['audit_stream_id']}/"
    with scope(tenant.organization):
        sealed = Leaf.objects.count()
        first = Leaf.objects.get(seq=sealed - 2).event_id
        Stream.objects.update(next_seq=sealed - 2)
    for shown in (page("audit/streams/"), page(path)):
        assert "2 events" in shown
        [since] = moments(shown, "the oldest from")
        assert since == datetime.fromtimestamp((first.int >> 80) / 1000, UTC).isoformat(), "the time in its id"
    with scope(tenant.organization):
        Stream.objects.update(next_seq=sealed - 1)
    assert "1 event<" in page(path)
    with scope(tenant.organization):
        Stream.objects.update(next_seq=sealed)
    for shown in (page("audit/streams/"), page(path)):
        assert "up to date" in shown
        assert "the oldest from" not in shown


def test_a_paused_stream_still_says_how_far_behind_it_is(tenant: Tenant, page: Page, post: Page) -> None:
    path = f"audit/streams/{make_stream_things(tenant)['audit_stream_id']}/"
    post(f"{path}switch/")
    with scope(tenant.organization):
        Stream.objects.update(next_seq=0)
        sealed = Leaf.objects.count()
    assert f"{sealed} events" in page("audit/streams/")
    assert f"{sealed} events" in page(path)


def test_the_log_says_from_when_its_newest_seal_is_and_since_when_the_rest_waits(
    tenant: Tenant, owner: Client, home: str
) -> None:
    early = owner.get(f"{home}audit/").content.decode()
    assert "none is yet" in early
    seal_all()
    with scope(tenant.organization):
        newest = Checkpoint.objects.latest("size")
        event = AuditEvent.objects.latest("id")
    text = owner.get(f"{home}audit/").content.decode()
    assert moments(text, "sealed and signed, the newest") == [newest.at.isoformat()]
    assert WAITING not in text
    detail = owner.get(f"{home}audit/{event.pk}/").content.decode()
    assert moments(detail, "The newest checkpoint was signed") == [newest.at.isoformat()]
    seal_all()  # that the pages were read is in the log, too
    with scope(tenant.organization):
        waiting = [
            record(action=actions.PROJECT_UPDATED, actor=tenant.actor, target=Target("project", "p", "P"))
            for _ in range(2)
        ]
    text = owner.get(f"{home}audit/").content.decode()
    assert moments(text, WAITING) == [waiting[0].occurred_at.isoformat()]
    assert "The newest checkpoint was signed" not in owner.get(f"{home}audit/{waiting[0].pk}/").content.decode()
