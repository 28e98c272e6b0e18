"""The loop: what is due and no other, bad rows cost themselves alone, of two who prove a domain at once one wins."""

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from tenancy.scope import scope
from tenancy.services import organizations
from tenancy.sso.domains import evidence, loop, services
from tenancy.sso.domains.evidence import Evidence
from tenancy.sso.domains.names import record_of
from tenancy.sso.models import VerifiedDomain
from tenancy.sso.tasks import check_domains
from tests.factories import Tenant, make_tenant
from tests.sealing import forget_trail
from tests.tenancy.sso.conftest import added, check, is_due, let_pass, lost, now_of, verified, write_record
from tests.threads import at_once
from tests.zones import Zone

State = VerifiedDomain.State
MINUTE = timedelta(minutes=1)


@pytest.fixture
def pair(transactional_db: None) -> Iterator[tuple[Tenant, Tenant]]:
    """Two organizations that threads can see."""
    both = make_tenant(), make_tenant()
    yield both
    forget_trail(*[tenant.organization.pk for tenant in both])


def due(tenant: Tenant, name: str) -> VerifiedDomain:
    """A domain that was added a minute ago."""
    domain = added(tenant, name)
    let_pass(tenant, domain, MINUTE)
    return domain


def test_what_is_due_is_looked_up_and_nothing_else(tenant: Tenant, stranger: Tenant, zone: Zone, name: str) -> None:
    ready, early = due(tenant, name), added(stranger, f"later.{name}")
    write_record(zone, ready)
    write_record(zone, early)
    assert loop.check_due() == 1
    assert now_of(tenant, ready).state == State.VERIFIED
    assert now_of(stranger, early).state == State.PENDING
    assert loop.check_due() == 0


def test_the_task_looks_up_what_is_due(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = due(tenant, name)
    write_record(zone, domain)
    check_domains()
    assert now_of(tenant, domain).state == State.VERIFIED


def test_a_record_that_stays_away_is_lost_by_daily_looks_alone(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = verified(tenant, zone, name)
    zone.texts.clear()
    looks = 0
    while now_of(tenant, domain).state == State.VERIFIED:
        let_pass(tenant, domain, is_due(now_of(tenant, domain)) or pytest.fail("it is never looked up again"))
        let_pass(tenant, domain, MINUTE)
        looks += loop.check_due()
    assert looks == 9  # one that misses it, and eight quarters of a day
    assert now_of(tenant, domain).state == State.LOST


def test_a_closed_organization_s_domains_are_left_alone(tenant: Tenant, zone: Zone, name: str) -> None:
    due(tenant, name)
    with scope(tenant.organization):
        organizations.close(actor=tenant.actor)
    assert loop.check_due() == 0
    assert not zone.asked


def test_a_domain_that_cannot_be_looked_up_costs_itself_alone(
    tenant: Tenant, zone: Zone, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    poison, good = due(tenant, f"poison.{name}"), due(tenant, name)
    write_record(zone, good)
    look = evidence.look

    def looks(domain: str, token: str) -> Evidence:
        if domain.startswith("poison."):
            raise RuntimeError("a mistake of ours")
        return look(domain, token)

    monkeypatch.setattr(evidence, "look", looks)
    assert loop.check_due() == 2
    assert now_of(tenant, good).state == State.VERIFIED
    put_off = now_of(tenant, poison)
    assert (put_off.state, is_due(put_off)) == (State.PENDING, services.AGAIN)
    assert f"sso.domain_failed domain={poison.pk}" in caplog.text


def test_a_result_that_cannot_be_written_costs_its_domain_alone(
    tenant: Tenant, zone: Zone, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, good = due(tenant, f"poison.{name}"), due(tenant, name)
    write_record(zone, good)
    look = evidence.look
    spoilt: Callable[[str], Evidence] = lambda domain: Evidence(False, "x" * 99, domain)  # noqa: E731  # too long
    monkeypatch.setattr(
        evidence, "look", lambda domain, token: spoilt(domain) if "poison" in domain else look(domain, token)
    )
    assert loop.check_due() == 2
    assert now_of(tenant, good).state == State.VERIFIED
    assert is_due(now_of(tenant, poison)) == services.AGAIN


def test_name_servers_that_say_nothing_of_anybody_are_an_error_of_ours(
    tenant: Tenant, stranger: Tenant, zone: Zone, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(8):
        for mine in (tenant, stranger):
            domain = due(mine, f"n{n}.{name}")
            zone.bad[record_of(domain.domain)] = "SERVFAIL"
    assert loop.check_due() == 16
    assert "sso.name_servers_silent domains=16" in caplog.text
    caplog.clear()
    zone.bad[record_of(due(tenant, name).domain)] = "SERVFAIL"
    assert loop.check_due() == 1
    assert "silent" not in caplog.text


def test_a_process_that_is_at_it_already_begins_no_second_loop(tenant: Tenant, zone: Zone, name: str) -> None:
    due(tenant, name)
    with loop._is_running:
        assert loop.check_due() == 0
    assert loop.check_due() == 1


def test_a_killed_worker_s_domains_come_again_in_an_hour(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = due(tenant, name)
    assert len(loop._claim()) == 1  # and nobody looks
    assert loop.check_due() == 0
    let_pass(tenant, domain, services.AGAIN)
    assert loop.check_due() == 1


def test_a_look_that_took_too_long_changes_nothing_after_a_later_one(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = due(tenant, name)
    [slow] = loop._claim()
    write_record(zone, domain)
    assert check(tenant, domain).state == State.VERIFIED
    services.settle(slow, Evidence(False, "absent", "It is late."))
    assert now_of(tenant, domain).last_code == "found"


def test_fifty_domains_of_one_do_not_keep_others_waiting(
    tenant: Tenant, stranger: Tenant, zone: Zone, name: str
) -> None:
    for n in range(20):
        due(tenant, f"n{n}.{name}")
    domain = due(stranger, name)
    claimed = loop._claim()
    assert domain.pk in {one.domain_id for one in claimed}
    assert len(claimed) == loop.OF_ONE + 1


def test_two_workers_take_no_domain_twice(pair: tuple[Tenant, Tenant], zone: Zone) -> None:
    for tenant in pair:
        for _ in range(loop.OF_ONE):
            due(tenant, f"n-{uuid.uuid4().hex}.com")
    claimed = [one.domain_id for turns in at_once(loop._claim, loop._claim, loop._claim) for one in turns]
    assert len(claimed) == len(set(claimed)) == 2 * loop.OF_ONE


def prove_at_once(pair: tuple[Tenant, Tenant], zone: Zone, name: str) -> list[str]:
    """Have both prove the same domain at the same moment; returns the states of it."""
    rows = [added(tenant, name) for tenant in pair]
    for row in rows:
        write_record(zone, row)
    works = [lambda mine=mine, row=row: check(mine, row) for mine, row in zip(pair, rows, strict=True)]
    results = at_once(*works)
    assert all(isinstance(one, VerifiedDomain) for one in results), results
    assert {one.last_code for one in results} == {"found", "held"}
    return sorted(one.state for one in results)


@pytest.mark.parametrize("_round", range(5))
def test_of_two_who_prove_a_domain_at_once_exactly_one_has_it(
    pair: tuple[Tenant, Tenant], zone: Zone, name: str, _round: int
) -> None:
    assert prove_at_once(pair, zone, name) == [State.PENDING, State.VERIFIED]


def test_of_two_who_take_a_lost_domain_over_exactly_one_has_it(
    pair: tuple[Tenant, Tenant], zone: Zone, name: str
) -> None:
    first = make_tenant()
    domain = lost(first, zone, name)
    let_pass(first, domain, services.YIELDS_AFTER)
    assert prove_at_once(pair, zone, name) == [State.PENDING, State.VERIFIED]
    assert now_of(first, domain).state == State.PENDING
    forget_trail(first.organization.pk)
