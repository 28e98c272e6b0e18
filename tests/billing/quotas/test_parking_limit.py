"""An organization may keep so many writes and bytes until its caps lift, and not one more."""

import pytest
from django.db import connection

from billing.quotas import applying, parking, selectors
from billing.quotas.models import ParkedTotal, ParkedWrite
from tenancy.scope import scope
from tests.billing.quotas.test_parking import Api, allow
from tests.factories import Tenant
from tests.threads import at_once

WRITERS, EACH, MOST = 8, 5, 23


@pytest.fixture
def api(tenant: Tenant) -> Api:
    """The tenant's key."""
    return Api(tenant)


def kept(tenant: Tenant) -> tuple[int, int]:
    """How many writes and bytes are kept, as the sum says; and it is the sum of what is there."""
    with scope(tenant.organization):
        writes = ParkedWrite.objects.exclude(state="applied")
        there = writes.count(), sum(len(bytes(one.sealed_body)) for one in writes)
        total = ParkedTotal.objects.first()
        said = (total.writes, total.bytes) if total else (0, 0)
    assert said == there
    return said


def test_eight_writers_at_once_keep_exactly_as_many_as_may(committed: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "MOST_WRITES", MOST)
    allow(committed, 0)

    def write(number: int) -> list[int]:
        api = Api(committed)
        return [api.ingest("tea", session=f"{number}-{turn}").status_code for turn in range(EACH)]

    answers = at_once(*[lambda number=number: write(number) for number in range(WRITERS)])
    statuses = [status for one in answers for status in one]
    assert sorted(statuses) == [202] * MOST + [402] * (WRITERS * EACH - MOST)
    assert kept(committed)[0] == MOST
    allow(committed, 1000)
    while applying.apply_due():
        pass
    assert kept(committed) == (0, 0)


def test_beyond_it_the_answer_says_what_to_do(tenant: Tenant, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "MOST_WRITES", 1)
    allow(tenant, 0)
    assert api.ingest("one").status_code == 202
    refused = api.ingest("two")
    assert (refused.status_code, refused.headers["X-Error-Code"]) == (402, "parking_full")
    detail = refused.json()["detail"]
    assert "this one was not kept, and nothing was written. Raise the cap" in detail
    assert detail.endswith("/billing/plan/")
    assert kept(tenant)[0] == 1
    allow(tenant, 10)
    assert applying.apply_due() == 1
    assert api.ingest("two").status_code == 200


def test_bytes_count_too_and_only_what_is_kept(tenant: Tenant, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "MOST_BYTES", 2_000)
    allow(tenant, 0)
    assert api.ingest("x" * 500).status_code == 202
    assert api.ingest("x" * 1_500).status_code == 402
    assert api.ingest("x" * 500).status_code == 202
    writes, size = kept(tenant)
    assert (writes, 1_000 < size < 2_000) == (2, True)


def test_what_is_set_aside_takes_room_until_it_is_dropped(tenant: Tenant, api: Api) -> None:
    allow(tenant, 1)
    api.ingest("one")
    api.ingest("two")
    with scope(tenant.organization):
        ParkedWrite.objects.update(state="failed")
        assert selectors.parked().writes == 1
        [write] = ParkedWrite.objects.all()
        parking.drop(actor=tenant.actor, write_id=write.pk)
    assert kept(tenant) == (0, 0)
    with scope(tenant.organization):
        assert (selectors.parked().writes, selectors.parked().bytes) == (0, 0)


def test_a_deleted_end_user_s_writes_make_room(tenant: Tenant, api: Api) -> None:
    allow(tenant, 0)
    for user in ("dana", "dana", "erin"):
        assert api.ingest("tea", session=user, user_id=user).status_code == 202
    assert kept(tenant)[0] == 3
    api.http.delete("/api/v1/users/dana")
    assert kept(tenant)[0] == 1


def test_nobody_sees_another_s_sum(tenant: Tenant, stranger: Tenant, api: Api) -> None:
    allow(tenant, 0)
    api.ingest("one")
    with scope(stranger.organization), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM quotas_parkedtotal")
        assert cursor.fetchone() == (0,)
