"""Domains: added, proved, lost without locking anybody out, given way, removed; and the wall between organizations."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from tenancy.audit import actions
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.models import Organization
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import organizations
from tenancy.sso.domains import selectors, services
from tenancy.sso.domains.evidence import Evidence
from tenancy.sso.domains.names import VALUE, record_of
from tenancy.sso.domains.services import LOST_AFTER, YIELDS_AFTER, Turn
from tenancy.sso.models import VerifiedDomain
from tests.factories import Tenant, add_member
from tests.tenancy.sso.conftest import added, check, is_due, let_pass, lost, now_of, verified, write_record
from tests.trail import audited
from tests.zones import Zone

FOUND = Evidence(True, "found", "The record is there.")
State = VerifiedDomain.State


def told(tenant: Tenant, name: str) -> list[tuple[str, str, Any]]:
    """What the trail says of a domain: action, who, and the states before and after."""
    with scope(tenant.organization):
        return [
            (one.action, one.actor["kind"], (one.changes or {}).get("state")) for one in audited("sso.", target=name)
        ]


def test_a_domain_waits_for_a_record_of_its_own(tenant: Tenant, stranger: Tenant, name: str) -> None:
    domain, other = added(tenant, f" {name.upper()}. "), added(stranger, name)
    assert (domain.domain, domain.state, domain.is_held) == (name, State.PENDING, False)
    assert len(domain.token) == 40
    assert domain.token != other.token
    assert told(tenant, name) == [(actions.DOMAIN_ADDED.name, "user", None)]


def test_what_is_no_domain_is_not_added(tenant: Tenant) -> None:
    with pytest.raises(Invalid):
        added(tenant, "gmail.com")
    with scope(tenant.organization):
        assert selectors.domains() == []


def test_a_domain_is_added_once_however_it_is_written(tenant: Tenant, name: str) -> None:
    added(tenant, name)
    with pytest.raises(Conflict):
        added(tenant, f"{name.upper()}.")


def test_there_is_an_end_to_domains(tenant: Tenant, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_DOMAINS", 1)
    domain = added(tenant, name)
    with pytest.raises(LimitReached):
        added(tenant, f"a.{name}")
    with scope(tenant.organization):
        services.remove(actor=tenant.actor, domain_id=domain.pk)
    added(tenant, f"a.{name}")


def test_the_record_proves_the_domain(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = added(tenant, name)
    assert check(tenant, domain).state == State.PENDING
    write_record(zone, domain)
    domain = check(tenant, domain)
    assert (domain.state, domain.is_held, domain.last_code, domain.missing_since) == ("verified", True, "found", None)
    assert domain.verified_at
    assert is_due(domain) == timedelta(days=1)
    assert told(tenant, name)[1:] == [(actions.DOMAIN_VERIFIED.name, "user", ["pending", "verified"])]


def test_a_domain_counts_for_itself_alone(tenant: Tenant, stranger: Tenant, zone: Zone, name: str) -> None:
    verified(tenant, zone, name)
    below = added(tenant, f"mail.{name}")
    assert check(tenant, below).state == State.PENDING
    # whom its owner lets write records below it can prove that part, and nothing else
    assert verified(stranger, zone, f"labs.{name}").state == State.VERIFIED


def test_another_s_record_proves_nothing(tenant: Tenant, stranger: Tenant, zone: Zone, name: str) -> None:
    write_record(zone, added(stranger, name))
    domain = check(tenant, added(tenant, name))
    assert (domain.state, domain.last_code) == (State.PENDING, "other_token")
    assert domain.last_seen == zone.texts[record_of(name)]


def test_a_record_of_before_a_removal_proves_nothing(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = verified(tenant, zone, name)
    with scope(tenant.organization):
        services.remove(actor=tenant.actor, domain_id=domain.pk)
    assert check(tenant, added(tenant, name)).last_code == "other_token"
    assert told(tenant, name)[-2:] == [
        (actions.DOMAIN_REMOVED.name, "user", ["verified", None]),
        (actions.DOMAIN_ADDED.name, "user", None),
    ]


def test_a_verified_domain_is_one_organization_s(tenant: Tenant, stranger: Tenant, zone: Zone, name: str) -> None:
    verified(tenant, zone, name)
    domain = verified(stranger, zone, name)
    assert (domain.state, domain.last_code, domain.verified_at) == (State.PENDING, "held", None)
    assert tenant.organization.name not in domain.last_result
    assert actions.DOMAIN_VERIFIED.name not in [action for action, *_ in told(stranger, name)]


def test_a_removed_domain_is_free_for_whoever_proves_it(
    tenant: Tenant, stranger: Tenant, zone: Zone, name: str
) -> None:
    first, second = verified(tenant, zone, name), verified(stranger, zone, name)
    with scope(tenant.organization):
        services.remove(actor=tenant.actor, domain_id=first.pk)
    assert check(stranger, second).state == State.VERIFIED


def test_a_missing_record_changes_nothing_for_two_days(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = verified(tenant, zone, name)
    zone.texts.clear()
    mail.outbox.clear()
    domain = check(tenant, domain)
    assert (domain.state, domain.last_code) == (State.VERIFIED, "no_domain")
    assert is_due(domain) == timedelta(hours=6)
    let_pass(tenant, domain, LOST_AFTER - timedelta(minutes=1))
    for _ in range(3):  # however often somebody looks
        assert check(tenant, domain).state == State.VERIFIED
    assert not mail.outbox


def test_a_record_that_is_missing_for_two_days_is_an_alert_and_no_lock_out(
    tenant: Tenant, zone: Zone, name: str, django_capture_on_commit_callbacks: Any
) -> None:
    admin = add_member(tenant, Role.ADMIN, "Bea")
    for role in (Role.MEMBER, Role.VIEWER, Role.BILLING):
        add_member(tenant, role)
    domain = verified(tenant, zone, name)
    zone.texts.clear()
    check(tenant, domain)
    let_pass(tenant, domain, LOST_AFTER)
    mail.outbox.clear()
    with django_capture_on_commit_callbacks(execute=True):
        domain = check(tenant, domain)
    assert (domain.state, domain.is_held) == (State.LOST, True)
    assert is_due(domain) == timedelta(days=1)
    assert told(tenant, name)[-1] == (actions.DOMAIN_LOST.name, "system", ["verified", "lost"])
    assert sorted(one.to[0] for one in mail.outbox) == sorted([tenant.owner.email, admin.email])
    for part in (record_of(name), VALUE + domain.token, "Nobody is locked out", f"/sso/domains/{domain.pk}/"):
        assert part in mail.outbox[0].body
    with django_capture_on_commit_callbacks(execute=True):
        check(tenant, domain)
    assert len(mail.outbox) == 2  # once is enough


def test_a_record_that_is_found_again_verifies_the_domain_again(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = lost(tenant, zone, name)
    write_record(zone, domain)
    domain = check(tenant, domain)
    assert (domain.state, domain.lost_at, domain.missing_since) == (State.VERIFIED, None, None)
    assert told(tenant, name)[-1] == (actions.DOMAIN_VERIFIED.name, "user", ["lost", "verified"])


def test_name_servers_that_do_not_answer_lose_nothing(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = verified(tenant, zone, name)
    zone.bad[record_of(name)] = "SERVFAIL"
    for _ in range(4):
        let_pass(tenant, domain, LOST_AFTER)
        domain = check(tenant, domain)
    assert (domain.state, domain.missing_since, domain.last_code) == (State.VERIFIED, None, "unanswered")
    assert is_due(domain) == timedelta(hours=1)


def test_one_look_that_finds_it_begins_the_two_days_anew(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = verified(tenant, zone, name)
    texts = dict(zone.texts)
    zone.texts.clear()
    check(tenant, domain)
    let_pass(tenant, domain, LOST_AFTER)
    zone.texts |= texts
    assert check(tenant, domain).missing_since is None
    zone.texts.clear()
    assert check(tenant, domain).state == State.VERIFIED


def test_a_lost_domain_is_its_organization_s_for_two_weeks_more(
    tenant: Tenant, stranger: Tenant, zone: Zone, name: str
) -> None:
    domain = lost(tenant, zone, name)
    let_pass(tenant, domain, YIELDS_AFTER - timedelta(minutes=1))
    assert verified(stranger, zone, name).last_code == "held"
    assert now_of(tenant, domain).state == State.LOST


def test_a_domain_that_is_lost_for_long_goes_to_whoever_proves_it(
    tenant: Tenant, stranger: Tenant, zone: Zone, name: str, django_capture_on_commit_callbacks: Any
) -> None:
    domain = lost(tenant, zone, name)
    let_pass(tenant, domain, YIELDS_AFTER)
    assert now_of(tenant, domain).state == State.LOST  # nothing is taken before somebody has proved it
    mail.outbox.clear()
    with django_capture_on_commit_callbacks(execute=True):
        assert verified(stranger, zone, name).state == State.VERIFIED
    domain = now_of(tenant, domain)
    assert (domain.state, domain.last_code, domain.due_at) == (State.PENDING, "held", None)
    assert (domain.verified_at, domain.lost_at) == (None, None)
    assert told(tenant, name)[-1] == (actions.DOMAIN_RELEASED.name, "system", ["lost", "pending"])
    assert [one.to for one in mail.outbox] == [[tenant.owner.email]]
    assert stranger.organization.name not in mail.outbox[0].body
    # and does not come back by itself
    write_record(zone, domain)
    assert check(tenant, domain).last_code == "held"


def test_a_closed_organization_keeps_no_domain_from_others(
    tenant: Tenant, stranger: Tenant, zone: Zone, name: str
) -> None:
    domain = verified(tenant, zone, name)
    with scope(tenant.organization):
        Organization.objects.update(closed_at=timezone.now())
    assert verified(stranger, zone, name).state == State.VERIFIED
    assert now_of(tenant, domain).state == State.PENDING


def test_nobody_s_verified_domain_gives_way(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = verified(tenant, zone, name)
    with scope(tenant.organization):
        assert not services.give_way(domain_id=domain.pk)
        assert not services.give_way(domain_id=uuid.uuid4())
    assert now_of(tenant, domain).state == State.VERIFIED


def test_only_what_is_verified_can_be_withdrawn(tenant: Tenant, name: str) -> None:
    domain = added(tenant, name)
    with scope(tenant.organization), pytest.raises(Conflict):
        services.withdraw(actor=tenant.actor, domain_id=domain.pk, reason="Sold")


def test_only_the_latest_look_counts(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = check(tenant, added(tenant, name))
    old = Turn(domain.pk, tenant.organization.pk, uuid.uuid4(), name, domain.token)
    services.settle(old, FOUND)
    assert now_of(tenant, domain).state == State.PENDING


def test_a_look_at_a_domain_that_was_removed_meanwhile_leaves_nothing(tenant: Tenant, zone: Zone, name: str) -> None:
    domain = check(tenant, added(tenant, name))
    assert domain.turn
    with scope(tenant.organization):
        services.remove(actor=tenant.actor, domain_id=domain.pk)
    services.settle(Turn(domain.pk, tenant.organization.pk, domain.turn, name, domain.token), FOUND)
    with scope(tenant.organization):
        assert selectors.domains() == []


def test_looks_that_people_ask_for_wait_for_each_other(
    tenant: Tenant, zone: Zone, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "WAIT", timedelta(hours=1))
    domain = added(tenant, name)
    check(tenant, domain)
    asked = len(zone.asked)
    with pytest.raises(services.TooSoon) as refused:
        services.check(actor=tenant.actor, organization_id=tenant.organization.pk, domain_id=domain.pk)
    assert 3500 < refused.value.retry_after <= 3600
    assert len(zone.asked) == asked


@pytest.mark.parametrize(
    ("age", "pause"),
    [
        (timedelta(minutes=5), timedelta(minutes=1)),
        (timedelta(hours=2), timedelta(minutes=10)),
        (timedelta(days=2), timedelta(hours=1)),
        (timedelta(days=8), timedelta(days=1)),
        (timedelta(days=31), None),
    ],
)
def test_a_new_domain_is_looked_up_often_and_an_old_one_seldom(
    tenant: Tenant, zone: Zone, name: str, age: timedelta, pause: timedelta | None
) -> None:
    domain = added(tenant, name)
    assert is_due(domain) == timedelta(minutes=1)
    let_pass(tenant, domain, age)
    assert is_due(check(tenant, domain)) == pause


def test_a_stranger_sees_changes_and_looks_up_nothing_of_ours(
    tenant: Tenant, stranger: Tenant, zone: Zone, name: str
) -> None:
    domain = verified(tenant, zone, name)
    with scope(stranger.organization):
        assert selectors.domains() == []
        with pytest.raises(NotFound):
            selectors.domain(domain.pk)
        with pytest.raises(NotFound):
            services.remove(actor=stranger.actor, domain_id=domain.pk)
        assert not services.give_way(domain_id=domain.pk)
    with pytest.raises(NotFound):
        services.check(actor=stranger.actor, organization_id=stranger.organization.pk, domain_id=domain.pk)
    turn = now_of(tenant, domain).turn
    assert turn
    services.settle(Turn(domain.pk, stranger.organization.pk, turn, name, domain.token), Evidence(False, "absent", ""))
    assert now_of(tenant, domain).last_code == "found"


def test_who_holds_a_domain_is_the_only_thing_that_is_told_across_organizations(
    tenant: Tenant, stranger: Tenant, zone: Zone, name: str
) -> None:
    added(stranger, name)
    assert selectors.holder(name) is None
    domain = verified(tenant, zone, name)
    assert selectors.holder(name) == selectors.Holder(domain.pk, tenant.organization.pk)


def test_a_purged_organization_leaves_no_domain(tenant: Tenant, zone: Zone, name: str) -> None:
    verified(tenant, zone, name)
    with scope(tenant.organization):
        Organization.objects.update(closed_at=timezone.now() - timedelta(days=400))
    organizations.purge_due()
    assert selectors.holder(name) is None
