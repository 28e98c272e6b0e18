"""Searches that are kept: whose they are, who sees them, and that the trail says so."""

import uuid

import pytest

from tenancy.audit import actions
from tenancy.audit.search import services
from tenancy.audit.services import Actor
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.roles import Role
from tenancy.scope import scope
from tests.factories import Tenant, add_member
from tests.trail import audited

KEY = Actor("api_key", str(uuid.uuid4()), "Server (cmk_4cDBAw…)")


def test_a_shared_view_is_seen_by_all_and_one_s_own_by_oneself(tenant: Tenant) -> None:
    admin = add_member(tenant, Role.ADMIN, "Mia")
    mia = Actor("user", str(admin.pk), admin.email)
    with scope(tenant.organization):
        mine = services.save(actor=tenant.actor, name="mine", filters={"actor": "ada"}, is_shared=False)
        ours = services.save(actor=tenant.actor, name="Ours", filters={"is_staff": "on"}, is_shared=True)
        robots = services.save(actor=KEY, name="robots", filters={"ip": "203.0.113.7"}, is_shared=False)
        assert services.views(tenant.actor) == [mine, ours, robots]
        assert services.views(mia) == services.views(KEY) == [ours, robots]
        with pytest.raises(NotFound):
            services.view(mine.pk, mia)
        with pytest.raises(NotFound):
            services.delete(actor=mia, view_id=mine.pk)
        services.delete(actor=mia, view_id=ours.pk)
        assert services.views(tenant.actor) == [mine, robots]
        told = audited("audit.view")
    assert [one.action for one in told] == [actions.VIEW_SAVED.name] * 3 + [actions.VIEW_DELETED.name]
    assert [one.metadata["is_shared"] for one in told] == [False, True, True, True]


def test_saving_again_under_a_name_replaces_it_and_says_what_changed(tenant: Tenant) -> None:
    with scope(tenant.organization):
        for filters in ({"actor": "ada"}, {"actor": "ada"}, {"actor": " bob ", "text": " "}):
            services.save(actor=tenant.actor, name=" Who ", filters=filters, is_shared=False)
        [view] = services.views(tenant.actor)
        assert (view.name, view.filters) == ("Who", {"actor": "bob"})
        assert str(view) == "Who"
        [event] = audited(actions.VIEW_UPDATED.name)
    assert event.changes == {"filters": [{"actor": "ada"}, {"actor": "bob"}]}


@pytest.mark.parametrize(
    ("name", "filters", "field"),
    [
        ("", {"actor": "x"}, "name"),
        ("n" * 65, {"actor": "x"}, "name"),
        ("n", {}, "filters"),
        ("n", {"actor": " "}, "filters"),
        ("n", {"actor": "x" * 256}, "filters"),
        ("n", {"colour": "red"}, "filters"),
    ],
)
def test_what_makes_no_view_is_refused(tenant: Tenant, name: str, filters: dict[str, str], field: str) -> None:
    with scope(tenant.organization), pytest.raises(Invalid) as refused:
        services.save(actor=tenant.actor, name=name, filters=filters, is_shared=False)
    assert refused.value.field == field


def test_views_are_bounded(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_VIEWS", 1)
    with scope(tenant.organization):
        services.save(actor=tenant.actor, name="one", filters={"actor": "x"}, is_shared=False)
        services.save(actor=tenant.actor, name="one", filters={"actor": "y"}, is_shared=False)
        with pytest.raises(Conflict, match="at most 1"):
            services.save(actor=tenant.actor, name="two", filters={"actor": "x"}, is_shared=False)
