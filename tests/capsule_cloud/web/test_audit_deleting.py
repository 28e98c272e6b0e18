"""Stores, schedules and streams go only after a page has said what that means, and somebody has said yes."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from django.test import Client

from tenancy.audit import actions
from tenancy.audit.exports.models import Schedule
from tenancy.audit.exports.models import Target as Store
from tenancy.audit.streams.models import Stream
from tenancy.scope import scope
from tests.capsule_cloud.web.audit_things import make_audit_things
from tests.factories import Tenant
from tests.trail import audited

Page = Callable[..., str]
DIALOG = {"X-Dialog": "1"}
ASKED = [
    ("audit/targets/{audit_target_id}/", "delete/", "Delete the store?", "What is in it stays there"),
    ("audit/exports/", "audit/schedules/{audit_schedule_id}/delete/", "Delete the schedule?", "pause it instead"),
    ("audit/streams/{audit_stream_id}/", "delete/", "Delete the stream?", "pause it instead"),
]


@pytest.mark.parametrize(("where", "path", "question", "meaning"), ASKED, ids=["store", "schedule", "stream"])
def test_deleting_asks_first_and_says_what_it_means(
    tenant: Tenant, owner: Client, home: str, where: str, path: str, question: str, meaning: str
) -> None:
    things = make_audit_things(tenant)
    if path.startswith("delete"):
        path = where + path
    if "targets" in path:
        with scope(tenant.organization):
            Schedule.objects.all().delete()
    address = home + path.format(**things)
    page = owner.get(home + where.format(**things)).content.decode()
    assert f'href="{address}"' in page
    assert f'action="{address}"' not in page, "one click deletes nothing"
    for headers, is_whole in (({}, True), (DIALOG, False)):
        text = owner.get(address, headers=headers).content.decode()
        assert meaning in text
        assert f'action="{address}"' in text
        assert question in text
        assert ("<nav" in text) is is_whole
    with scope(tenant.organization):
        assert (Store.objects.count(), Stream.objects.count()) == (1, 1)
        assert not [one for one in audited("audit.") if one.action.endswith(".deleted")]
    gone = owner.post(address, follow=True)
    assert gone.status_code == 200
    assert owner.get(address).status_code == 404
    assert owner.post(address).status_code == 404
    with scope(tenant.organization):
        assert len([one for one in audited("audit.") if one.action.endswith(".deleted")]) == 1


def test_a_store_that_a_schedule_uses_says_so_instead_of_asking(tenant: Tenant, page: Page, post: Page) -> None:
    things = make_audit_things(tenant)
    path = f"audit/targets/{things['audit_target_id']}/delete/"
    text = page(path)
    assert "Daily puts exports into it" in text
    assert "that schedule first" in text
    assert "btn-danger-solid" not in text
    assert "A schedule puts exports into it" in post(path), "nor does a form that was open before"
    with scope(tenant.organization):
        Schedule.objects.create(
            name="Weekly", every="week", target=Store.objects.get(), range_start=Schedule.objects.get().range_start
        )
        assert not audited(actions.TARGET_DELETED.name)
    text = page(path)
    assert "Daily, Weekly put exports into it" in text
    assert "those schedules first" in text


def test_what_is_not_there_cannot_be_asked_about(owner: Client, home: str) -> None:
    for kind in ("targets", "schedules", "streams"):
        assert owner.get(f"{home}audit/{kind}/{uuid4()}/delete/").status_code == 404


def test_who_may_not_export_is_not_even_asked(tenant: Tenant, viewer: Client, home: str) -> None:
    things = make_audit_things(tenant)
    for kind, name in (("targets", "audit_target_id"), ("schedules", "audit_schedule_id")):
        address = f"{home}audit/{kind}/{things[name]}/delete/"
        assert (viewer.get(address).status_code, viewer.post(address).status_code) == (403, 403)
