"""Searching the trail: each filter alone and together, page after page, and honest about how far it looked."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenancy.audit import actions, selectors
from tenancy.audit.filters import Wanted
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import SYSTEM, Actor, Context, Target, context, record
from tenancy.models import ApiKey
from tenancy.scope import scope
from tests.factories import Tenant

ADA = Actor("user", "0198c5d2-f0e4-7b0c-9d6a-1b2c3d4e5f60", "ada@example.com")
BOB = Target("user", "0198c5d2-f0e4-7b0c-9d6a-1b2c3d4e5f62", "bob@example.com")
STAFF = Actor("staff", "0198c5d2-f0e4-7b0c-9d6a-1b2c3d4e5f63", "Grace of support")
THING = Target("project", "0198c5d2-f0e4-7b0c-9d6a-1b2c3d4e5f64", 'Support "Böt" 100%')
OFFICE = Context("r1", "203.0.113.7", "Mozilla/5.0 Firefox/140")
HOME = Context("r2", "203.0.113.77", "curl/8")


@pytest.fixture
def told(tenant: Tenant) -> Iterator[dict[str, AuditEvent]]:
    """A trail in which every filter has something to find; its organization is in scope."""
    with scope(tenant.organization):
        key = ApiKey.objects.get()
        robot = Actor("api_key", str(key.pk), f"{key.name} ({key.hint}…)")
        with context(OFFICE):
            made = {
                "person": record(action=actions.PROJECT_UPDATED, actor=ADA, target=THING),
                "member": record(
                    action=actions.MEMBER_ROLE_CHANGED,
                    actor=ADA,
                    target=BOB,
                    metadata={"keys_revoked": 0},
                    changes={"role": ["viewer", "admin"]},
                ),
                "staff": record(action=actions.STAFF_LOOKED, actor=STAFF, target=THING, reason="ticket 4711"),
                "robot": record(
                    action=actions.MEMORY_SESSION_INGESTED,
                    actor=robot,
                    target=Target("session", "support-4711", "support-4711"),
                    metadata={"turns": 2},
                ),
            }
        with context(HOME):
            made["refused"] = record(
                action=actions.RATE_LIMITED,
                actor=robot,
                target=Target("api", "/v1", "/v1"),
                metadata={"method": "GET", "path": "/v1"},
            )
        made["system"] = record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=THING)
        yield made


CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({"actor": "ada@"}, {"person", "member"}),
    ({"actor": "ADA@EXAMPLE"}, {"person", "member"}),
    ({"actor": ADA.id}, {"person", "member"}),
    ({"actor": "grace"}, {"staff"}),
    ({"actor": "Capsule Memory"}, {"system"}),
    ({"target": "bob@example.com"}, {"member"}),
    ({"target": BOB.id}, {"member"}),
    ({"target": 'T "BÖT" 100%'}, {"person", "staff", "system"}),
    ({"target": "100_"}, set()),
    ({"target": "support-47"}, {"robot"}),
    ({"target": "support-4711"}, {"robot"}),
    ({"ip": "203.0.113.7"}, {"person", "member", "staff", "robot"}),
    ({"ip": "203.0.113.77"}, {"refused"}),
    ({"ip": "203.0.113."}, {"person", "member", "staff", "robot", "refused"}),
    ({"text": "ticket 4711"}, {"staff"}),
    ({"text": "Firefox"}, {"person", "member", "staff", "robot"}),
    ({"text": 't "bÖt" 100%'}, {"person", "staff", "system"}),
    ({"text": "bob@"}, {"member"}),
    ({"is_staff": True}, {"staff"}),
    ({"is_failure": True}, {"refused"}),
    ({"action": "access, staff.looked"}, {"refused", "staff"}),
    ({"action": "organization.member"}, {"member"}),
    ({"action": "organization", "actor": "ada", "target": "bob", "ip": "203.0.113.7", "text": "viewer"}, {"member"}),
    ({"action": "access", "is_failure": True, "is_staff": True}, set()),
    ({"actor": "nobody"}, set()),
    ({"text": "\0"}, set()),
]


@pytest.mark.parametrize(("wanted", "names"), CASES, ids=[str(wanted) for wanted, _ in CASES])
def test_a_filter_finds_what_it_says(told: dict[str, AuditEvent], wanted: dict[str, Any], names: set[str]) -> None:
    by_id = {event.pk: name for name, event in told.items()}
    found = selectors.search(**wanted)
    assert {by_id[one.pk] for one in found.events if one.pk in by_id} == names
    assert (found.before, found.looked_back_to) == (None, None)
    # exports choose as search does, and the timeline counts the same
    assert set(selectors.matching(AuditEvent.objects.all(), **wanted)) == set(found.events)
    assert sum(count for _, _, count in selectors.counts(**wanted).rows) == len(found.events)


def test_a_key_is_found_by_its_name_and_by_its_label(tenant: Tenant, told: dict[str, AuditEvent]) -> None:
    robot = told["robot"].actor["label"]
    for text in (robot, robot.split(" (")[0], ApiKey.objects.get().hint):
        assert {told["robot"], told["refused"]} <= set(selectors.events(actor=text))


def test_many_pseudonyms_of_one_address_are_found(told: dict[str, AuditEvent]) -> None:
    made = []
    with context(Context("r3", "198.51.100.1", "x")):
        for number in range(40):
            person = Actor("user", f"0198c5d2-f0e4-7b0c-9d6a-{number:012}", f"p{number}@example.com")
            made.append(record(action=actions.PROJECT_UPDATED, actor=person, target=THING))
    assert selectors.events(ip="198.51.100.1") == made[::-1]
    assert selectors.events(ip="198.51.100.2") == []


def test_what_is_found_names_whom_it_is_about(told: dict[str, AuditEvent]) -> None:
    [event] = selectors.events(action="organization.member.role_changed")
    assert (event.actor["label"], event.target["label"]) == ("ada@example.com", "bob@example.com")


def test_time_narrows_to_the_millisecond(told: dict[str, AuditEvent]) -> None:
    first, last = told["person"], told["system"]
    since, until = selectors.moment_of(first.pk), selectors.moment_of(last.pk)
    found = selectors.search(since=since, until=until).events
    assert first in found
    assert last not in found
    assert selectors.search(since=timezone.now() + timedelta(hours=1)).events == []


def test_when_time_is_over_it_says_how_far_it_looked_and_goes_on(
    told: dict[str, AuditEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "FIRST_LOOK", 1)
    monkeypatch.setattr(selectors, "LONGEST_LOOK", 1)
    monkeypatch.setattr(selectors, "BUDGET", 0.0)
    found, before, pages = [], None, 0
    while True:
        page = selectors.search(text="viewer", before=before)
        found += page.events
        pages += 1
        if page.before is None:
            break
        assert page.looked_back_to == selectors.moment_of(page.before)
        before = page.before
    assert found == [told["member"]]
    assert pages == AuditEvent.objects.count() + 1


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 9), wanted=st.sampled_from([one for one, _ in CASES] + [{}]))
def test_pages_together_are_the_whole(told: dict[str, AuditEvent], limit: int, wanted: dict[str, Any]) -> None:
    whole = selectors.search(**wanted, limit=1_000).events
    pages, before = [], None
    while True:
        page = selectors.search(**wanted, limit=limit, before=before)
        pages += page.events
        if page.before is None:
            break
        before = page.before
    assert pages == whole
    assert [one.pk for one in whole] == sorted((one.pk for one in whole), reverse=True)


@pytest.mark.parametrize("longest", [2, 3])
def test_each_look_begins_where_the_last_one_ended(
    told: dict[str, AuditEvent], monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    monkeypatch.setattr(selectors, "FIRST_LOOK", 2)
    monkeypatch.setattr(selectors, "LONGEST_LOOK", longest)
    looks: list[Any] = []
    look = selectors._look

    def counted(*args: Any) -> Any:
        looks.append(args)
        return look(*args)

    monkeypatch.setattr(selectors, "_look", counted)
    found = selectors.search(text="organization")
    assert found.events == list(AuditEvent.objects.order_by("-id"))  # every body says whose it is
    assert len(looks) <= AuditEvent.objects.count() // 2 + 1


def test_a_timeline_says_from_when_it_counted(told: dict[str, AuditEvent]) -> None:
    counted = selectors.counts(most=2)
    assert sum(count for _, _, count in counted.rows) == 2
    assert counted.since is not None
    assert counted.since <= told["system"].occurred_at
    assert selectors.counts().since is None


def test_another_organization_s_events_are_not_found(tenant: Tenant, stranger: Tenant) -> None:
    with scope(tenant.organization), context(OFFICE):
        event = record(action=actions.STAFF_LOOKED, actor=STAFF, target=THING, reason="ticket 4711")
        assert selectors.event(event.pk) == event
    cases: list[Wanted] = [{"actor": "grace"}, {"ip": "203.0.113.7"}, {"text": "4711"}, {"is_staff": True}]
    with scope(stranger.organization):
        assert [selectors.events(**wanted) for wanted in cases] == [[]] * 4
        assert selectors.event(event.pk) is None
