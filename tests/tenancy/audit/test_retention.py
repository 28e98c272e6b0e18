"""Events go when their plan keeps them no longer, exactly those, and never while a legal hold stands."""

import uuid
from datetime import timedelta

import pytest
from django.db import DatabaseError
from django.utils import timezone
from psycopg.errors import InsufficientPrivilege

from tenancy.audit import partitions, retention, tasks
from tenancy.audit.models import AuditEvent
from tenancy.audit.retention import AlreadyHeld, ExpiryFailed
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.selectors import first_id
from tenancy.errors import Invalid, NotFound
from tenancy.models import Organization, OrganizationPurge
from tenancy.scope import scope
from tenancy.services import organizations
from tests.factories import Tenant, make_tenant
from tests.raw import connect, inside
from tests.sealing import seal_all
from tests.threads import at_once
from tests.trail import audited

pytestmark = pytest.mark.django_db(transaction=True)
MONTH = timedelta(days=31)


def old_events(tenant: Tenant, count: int, months: int) -> list[uuid.UUID]:
    """Events that were recorded so many months ago, without leaves."""
    base = first_id(timezone.now() - months * MONTH).int
    ids = [uuid.UUID(int=base + uuid.uuid4().int % 2**60) for _ in range(count)]
    with connect("superuser") as server:
        server.cursor().executemany(
            "INSERT INTO audit_auditevent (organization_id, id, action, actor_id, target_id, body) "
            "VALUES (%s, %s, 'x', '', '', '{\"v\":1}')",
            [(tenant.organization.pk, one) for one in ids],
        )
    return ids


def expired(tenant: Tenant) -> list[retention.Expired]:
    return [one for one in retention.expire_due() if one.organization_id == tenant.organization.pk]


def events(tenant: Tenant, ids: list[uuid.UUID]) -> int:
    with scope(tenant.organization):
        return AuditEvent.objects.filter(pk__in=ids).count()


def test_what_the_plan_keeps_no_longer_goes_and_its_leaves_stay() -> None:
    tenant, stranger = make_tenant(), make_tenant()
    old, new, theirs = old_events(tenant, 5, 4), old_events(tenant, 3, 2), old_events(stranger, 2, 4)
    with scope(stranger.organization):
        Organization.objects.update(audit_retention_months=12)
    seal_all(since=timedelta(days=200))
    with scope(tenant.organization):
        before = AuditEvent.objects.count()
        leaves = list(Leaf.objects.values_list("seq", "event_id", "hash"))
    [done] = expired(tenant)
    assert (done.deleted, done.unsealed) == (5, 0)
    assert (events(tenant, old), events(tenant, new), events(stranger, theirs)) == (0, 3, 2)
    with scope(tenant.organization):
        assert AuditEvent.objects.count() == before - 5 + 1
        assert list(Leaf.objects.values_list("seq", "event_id", "hash"))[: len(leaves)] == leaves
        assert {one.hex for one in old} <= {event.hex for _, event, _ in leaves}
        [told] = audited("audit.events.expired")
    assert told.metadata == {"events": 5, "before": done.before.isoformat()}
    assert expired(tenant) == []


def test_batches_add_up() -> None:
    tenant = make_tenant()
    old = old_events(tenant, 7, 4)
    seal_all(since=timedelta(days=200))
    found = [one for one in retention.expire_due(batch=3) if one.organization_id == tenant.organization.pk]
    assert [one.deleted for one in found] == [7]
    assert events(tenant, old) == 0
    with scope(tenant.organization):
        assert [one.metadata["events"] for one in audited("audit.events.expired")] == [3, 3, 1]


def test_what_is_not_sealed_waits_and_is_told() -> None:
    tenant = make_tenant()
    old = old_events(tenant, 2, 4)
    [done] = expired(tenant)
    assert (done.deleted, done.unsealed) == (0, 2)
    assert events(tenant, old) == 2


def test_a_legal_hold_beats_the_plan_until_it_is_released() -> None:
    tenant = make_tenant()
    old = old_events(tenant, 2, 4)
    seal_all(since=timedelta(days=200))
    with scope(tenant.organization):
        with pytest.raises(Invalid):
            retention.hold(actor=tenant.actor, reason=" ")
        held = retention.hold(actor=tenant.actor, reason="Case 4711 at Hamburg")
        with pytest.raises(AlreadyHeld):
            retention.hold(actor=tenant.actor, reason="Another")
        assert retention.held() == held
        assert str(held) == "Case 4711 at Hamburg"
    assert expired(tenant) == []
    with connect("app") as app, inside(app, tenant.organization.pk):
        assert app.execute("SELECT deleted FROM audit_expire(%s, 10)", [tenant.organization.pk]).fetchall() == [(0,)]
    assert events(tenant, old) == 2
    with scope(tenant.organization):
        with pytest.raises(Invalid):
            retention.release(actor=tenant.actor, reason="")
        retention.release(actor=tenant.actor, reason="The case is over")
        with pytest.raises(NotFound):
            retention.release(actor=tenant.actor, reason="Twice")
        told = [(one.action, one.actor["label"], one.reason) for one in audited("audit.hold.")]
    assert told == [
        ("audit.hold.set", tenant.owner.email, "Case 4711 at Hamburg"),
        ("audit.hold.released", tenant.owner.email, "The case is over"),
    ]
    assert [one.deleted for one in expired(tenant)] == [2]


def test_a_held_organization_is_not_purged_and_neither_is_its_trail() -> None:
    tenant = make_tenant()
    with scope(tenant.organization):
        retention.hold(actor=tenant.actor, reason="Case 4711")
        Organization.objects.update(closed_at=timezone.now() - timedelta(days=400))
    organizations.purge_due()
    assert not OrganizationPurge.objects.filter(organization_id=tenant.organization.pk).exists()
    with scope(tenant.organization):
        assert audited("organization.created")
    refused = pytest.raises(InsufficientPrivilege, match="not when held")
    with connect("app") as app, refused, inside(app, tenant.organization.pk):
        app.execute("SELECT audit_purge(%s)", [tenant.organization.pk])


def test_nobody_chooses_the_cutoff_or_expires_for_another() -> None:
    tenant, stranger = make_tenant(), make_tenant()
    new = old_events(tenant, 2, 0)
    with scope(tenant.organization):
        Organization.objects.update(audit_retention_months=0)
    seal_all(since=timedelta(days=1))
    expired(tenant)
    assert events(tenant, new) == 2, "a month at least stays, whatever the plan says"
    refused = pytest.raises(InsufficientPrivilege, match="scope")
    with connect("app") as app, refused, inside(app, tenant.organization.pk):
        app.execute("SELECT audit_expire(%s, 10)", [stranger.organization.pk])


def test_two_runs_at_once_count_each_event_once() -> None:
    tenant = make_tenant()
    old_events(tenant, 40, 4)
    seal_all(since=timedelta(days=200))
    found = at_once(*[lambda: expired(tenant)] * 3)
    assert sum(one.deleted for done in found for one in done) == 40
    with scope(tenant.organization):
        assert sum(one.metadata["events"] for one in audited("audit.events.expired")) == 40


def test_one_that_cannot_be_expired_does_not_keep_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = make_tenant(), make_tenant()
    gone = old_events(fine, 1, 4)
    old_events(broken, 1, 4)
    seal_all(since=timedelta(days=200))
    real = retention._expire

    def some(organization_id: uuid.UUID, batch: int) -> retention.Expired:
        if organization_id == broken.organization.pk:
            raise DatabaseError
        return real(organization_id, batch)

    monkeypatch.setattr(retention, "_expire", some)
    with pytest.raises(ExpiryFailed):
        tasks.expire()
    assert events(fine, gone) == 0
    assert f"audit.expiry_failed organization={broken.organization.pk}" in caplog.text
    monkeypatch.undo()
    tasks.expire()


def test_a_past_month_is_dropped_once_it_is_empty_and_no_sooner() -> None:
    tenant = make_tenant()
    then = timezone.now() - 100 * MONTH
    name = f"audit_auditevent_{then:%Y_%m}"
    with connect("app") as app:
        app.execute("SELECT audit_make_partitions(%s, %s)", [then, then])

    def is_there() -> bool:
        with connect("superuser") as server:
            return server.execute("SELECT to_regclass(%s) IS NOT NULL", [f"public.{name}"]).fetchall() == [(True,)]

    old = old_events(tenant, 1, 100)
    partitions.drop_empty_partitions()
    assert is_there()
    seal_all(since=110 * MONTH)
    tasks.expire()
    assert events(tenant, old) == 0
    assert not is_there()
    tasks.make_partitions()
    with connect("superuser") as server:
        now = timezone.now()
        months = [now, now + timedelta(days=80)]
        for month in months:
            assert server.execute("SELECT to_regclass(%s)", [f"public.audit_auditevent_{month:%Y_%m}"]).fetchall() != [
                (None,)
            ]
