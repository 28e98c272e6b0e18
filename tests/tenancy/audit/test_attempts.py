"""What was tried and refused: the first times one by one, the rest as a number, whatever the number."""

import ipaddress
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from tenancy.audit import actions
from tenancy.audit.attempts import services
from tenancy.audit.attempts.models import AttemptCount
from tenancy.audit.attempts.services import FIRST, attempt, flush, network, reading, sum_up
from tenancy.audit.services import Actor, Context, Target, context
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant
from tests.threads import at_once
from tests.trail import audited

DOOR = Target("api", "/v1/members", "/v1/members")
SAID = {"code": "missing_scope", "method": "GET", "path": "/v1/members"}


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    services._tallies.clear()
    yield
    services._tallies.clear()


def knock(tenant: Tenant, ip: str = "203.0.113.7", actor: Actor | None = None) -> None:
    """One refused attempt of the tenant's key."""
    who = actor or Actor("api_key", str(tenant.key.pk), "Test")
    with context(Context("r1", ip, "curl/8")):
        attempt(
            organization_id=tenant.organization.pk,
            action=actions.ACCESS_DENIED,
            actor=who,
            target=DOOR,
            metadata=SAID,
        )


def told(tenant: Tenant, action: actions.Action = actions.ACCESS_DENIED) -> list[Any]:
    """The trail's events of an action."""
    with scope(tenant.organization):
        return audited(action.name)


def counts(tenant: Tenant) -> list[int]:
    """What PostgreSQL has counted, by source."""
    with scope(tenant.organization):
        return list(AttemptCount.objects.order_by("count").values_list("count", flat=True))


def later(tenant: Tenant, hours: int = 1) -> int:
    """Sum up as it will be done some hours later."""
    return sum_up(now=timezone.now() + timedelta(hours=hours, minutes=6))


def test_the_first_attempts_are_events_and_the_rest_one_sum(tenant: Tenant) -> None:
    for _ in range(FIRST + 20):
        knock(tenant)
    assert len(told(tenant)) == FIRST
    assert counts(tenant) == [FIRST]  # nothing was written for the others yet
    flush()
    assert counts(tenant) == [FIRST + 20]
    later(tenant)
    [event] = told(tenant, actions.ATTEMPTS_REPEATED)
    assert event.metadata["attempts"] == FIRST + 20
    assert event.metadata["recorded"] == FIRST
    assert event.metadata["action"] == "access.denied"
    assert event.actor["id"] == str(tenant.key.pk)
    assert counts(tenant) == []
    later(tenant)
    assert len(told(tenant, actions.ATTEMPTS_REPEATED)) == 1


def test_few_attempts_are_not_summed_up(tenant: Tenant) -> None:
    for _ in range(FIRST):
        knock(tenant)
    later(tenant)
    assert (len(told(tenant)), told(tenant, actions.ATTEMPTS_REPEATED), counts(tenant)) == (FIRST, [], [])


def test_an_hour_that_goes_on_is_not_summed_up(tenant: Tenant) -> None:
    for _ in range(FIRST + 1):
        knock(tenant)
    sum_up()
    assert told(tenant, actions.ATTEMPTS_REPEATED) == []
    assert counts(tenant) == [FIRST]


def test_whoever_has_many_addresses_is_one_source_in_the_end(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_SOURCES", 3)
    for n in range(20):
        knock(tenant, ip=f"198.51.100.{n}")
    assert len(told(tenant)) == 3 + FIRST
    flush()
    assert counts(tenant) == [1, 1, 1, 17]
    later(tenant)
    [event] = told(tenant, actions.ATTEMPTS_REPEATED)
    assert (event.metadata["attempts"], event.actor["kind"]) == (17, "unknown")


def test_another_organization_s_attempts_are_its_own(tenant: Tenant, stranger: Tenant) -> None:
    for _ in range(FIRST + 1):
        knock(tenant)
    knock(stranger)
    assert (len(told(tenant)), len(told(stranger))) == (FIRST, 1)


def test_a_database_that_is_away_refuses_all_the_same(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(FIRST + 3):
        knock(tenant)

    def away(*args: Any) -> int:
        raise DatabaseError("away")

    with monkeypatch.context() as patched:
        patched.setattr(services, "_count", away)
        knock(tenant, ip="198.51.100.1")
        flush()
    assert "audit.attempt_lost" in caplog.text
    assert "audit.attempts_wait" in caplog.text
    flush()
    assert counts(tenant) == [FIRST + 3]


def test_a_full_memory_forgets_what_is_written(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_TALLIES", 1)
    for ip in ("198.51.100.1", "198.51.100.2"):
        for _ in range(FIRST):
            knock(tenant, ip=ip)
    assert len(services._tallies) == 1


def test_an_old_hour_is_written_before_a_new_one_begins(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(FIRST + 2):
        knock(tenant)
    soon = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr(timezone, "now", lambda: soon)
    knock(tenant)
    assert counts(tenant) == [1, FIRST + 2]
    assert len(told(tenant)) == FIRST + 1
    assert services._tallies == {}


def test_reading_is_told_once_an_hour_for_each_page_and_reader(tenant: Tenant) -> None:
    for _ in range(3):
        for page in ("events", "event"):
            reading(organization_id=tenant.organization.pk, page=page, actor=tenant.actor)
    assert [event.metadata["page"] for event in told(tenant, actions.TRAIL_READ)] == ["events", "event"]
    flush()
    later(tenant)
    assert told(tenant, actions.ATTEMPTS_REPEATED) == []


@given(low=st.integers(0, 2**64 - 1), other=st.integers(0, 2**64 - 1))
def test_a_network_of_ipv6_is_one_source(low: int, other: int) -> None:
    one, two = (str(ipaddress.IPv6Address((0x20010DB8 << 96) | end)) for end in (low, other))
    assert network(one) == network(two) == "2001:db8::"


@pytest.mark.parametrize(("ip", "is_of"), [("203.0.113.7", "203.0.113.7"), ("", ""), ("nonsense", "")])
def test_an_address_is_a_source(ip: str, is_of: str) -> None:
    assert network(ip) == is_of


class Forgetful(dict[Any, Any]):
    """The memory of processes that have just begun: every attempt asks PostgreSQL."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep nothing."""


def test_many_at_once_are_counted_exactly(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_tallies", Forgetful())
    tenant = make_tenant()

    def tries() -> None:
        for _ in range(10):
            knock(tenant)

    assert at_once(*[tries] * 4) == [None] * 4
    assert len(told(tenant)) == FIRST
    assert sum(counts(tenant)) == 40
