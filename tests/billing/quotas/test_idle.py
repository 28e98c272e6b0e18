"""An idle session is sealed within the caps: at one it stays open, and is sealed when the cap lifts."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.metering.models import UsageEvent
from billing.quotas import applying
from billing.quotas.idle import seal_idle_sessions
from capsule_cloud.memory.models import Capsule, Session, Turn
from capsule_cloud.memory.services import retention, sessions
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit, used
from tests.billing.quotas.test_parking import Api, allow
from tests.factories import Tenant


def leave_idle(tenant: Tenant, *names: str, turns: int = 1) -> None:
    """Sessions whose last turn was an hour ago; what they took is not counted here."""
    for name in names:
        pair = sessions.TurnPair("I like tea.", "Noted.")
        where: dict[str, Any] = {"organization_id": tenant.organization.pk, "project_id": tenant.project.pk}
        sessions.ingest(**where, session_id=name, turns=[pair] * turns, user_id=name, actor=tenant.actor)
    look_again(tenant)


def look_again(tenant: Tenant) -> None:
    """Make every session due for a look, as it is ten minutes after the last one."""
    with scope(tenant.organization):
        moment = timezone.now() - timedelta(hours=1)
        Session.objects.update(last_turn_at=moment, look_at=moment)


def sealed(tenant: Tenant) -> int:
    """How many capsules there are: each of one counted seal."""
    with scope(tenant.organization):
        capsules = Capsule.objects.count()
        assert UsageEvent.objects.filter(meter="seal").count() == capsules
        assert Session.objects.exclude(sealed_at=None).count() == capsules
        return capsules


def test_at_a_cap_idle_sessions_stay_open_until_it_lifts(tenant: Tenant) -> None:
    seal_idle_sessions()  # what other tests left
    leave_idle(tenant, "a", "b", "c")
    limit(tenant, 2)
    assert seal_idle_sessions() == 3
    assert (sealed(tenant), used(tenant)) == (2, 2)
    assert seal_idle_sessions() == 0, "not before ten minutes have passed"
    look_again(tenant)
    seal_idle_sessions()
    assert sealed(tenant) == 2
    with scope(tenant.organization):
        assert Turn.objects.count() == 6, "nothing is lost"
    limit(tenant, 10)
    look_again(tenant)
    seal_idle_sessions()
    assert (sealed(tenant), used(tenant)) == (3, 3)


def test_an_idle_seal_waits_for_the_turns_that_are_parked(tenant: Tenant) -> None:
    leave_idle(tenant, "a")
    allow(tenant, 0)
    api = Api(tenant)
    assert api.ingest("And cake.", session="a", user_id="a").status_code == 202
    allow(tenant, 10)
    seal_idle_sessions()
    assert sealed(tenant) == 0
    assert applying.apply_due() == 1
    look_again(tenant)
    seal_idle_sessions()
    assert sealed(tenant) == 1
    with scope(tenant.organization):
        assert Capsule.objects.get().turn_count == 4
    assert used(tenant) == 2


def test_a_session_that_got_a_turn_meanwhile_takes_nothing(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_idle(tenant, "a")
    limit(tenant, 5)
    real = retention.close_if_idle

    def late(**values: Any) -> bool:
        Session.objects.update(last_turn_at=timezone.now())
        return real(**values)

    monkeypatch.setattr("billing.quotas.idle.close_if_idle", late)
    seal_idle_sessions()
    assert sealed(tenant) == 0


def test_a_session_that_nobody_used_needs_no_room_to_go(tenant: Tenant) -> None:
    limit(tenant, 0)
    with scope(tenant.organization):
        sessions.open_session(project_id=tenant.project.pk, session_id="s", actor=tenant.actor)
        moment = timezone.now() - timedelta(days=2)
        Session.objects.update(started_at=moment, look_at=moment)
    seal_idle_sessions()
    with scope(tenant.organization):
        assert not Session.objects.exists()
