"""What is deleted goes only after a page has said what that means, and somebody has said yes."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.exports.models import Export, Schedule
from tenancy.audit.exports.models import Target as Store
from tenancy.audit.search.models import SavedView
from tenancy.audit.streams.models import Stream
from tenancy.roles import Role
from tenancy.scope import scope
from tests.capsule_cloud.web.audit_things import make_audit_things
from tests.factories import Tenant, add_member
from tests.trail import audited

Page = Callable[..., str]
DIALOG = {"X-Dialog": "1"}
ASKED = [
    ("audit/targets/{audit_target_id}/", "delete/", "Delete the store?", "What is in it stays there"),
    ("audit/exports/", "audit/schedules/{audit_schedule_id}/delete/", "Delete the schedule?", "pause it instead"),
    ("audit/streams/{audit_stream_id}/", "delete/", "Delete the stream?", "pause it instead"),
    ("audit/?is_staff=on", "audit/views/{audit_view_id}/delete/", "Delete the saved search?", "everybody who may read"),
]


@pytest.mark.parametrize(
    ("where", "path", "question", "meaning"), ASKED, ids=["store", "schedule", "stream", "saved search"]
)
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


def test_the_files_of_an_export_are_deleted_after_a_question(tenant: Tenant, owner: Client, home: str) -> None:
    things = make_audit_things(tenant)
    where = f"{home}audit/exports/{things['audit_export_id']}/"
    address, file = f"{where}end/", f"{where}files/{things['name']}?link={things['link']}"
    page = owner.get(where).content.decode()
    assert f'href="{address}" data-dialog' in page
    assert f'action="{address}"' not in page, "one click deletes nothing"
    for headers, is_whole in (({}, True), (DIALOG, False)):
        text = owner.get(address, headers=headers).content.decode()
        assert "stop working at once" in text
        assert "It may not get into Logs any more" in text
        assert f'action="{address}"' in text
        assert ("<nav" in text) is is_whole
    with scope(tenant.organization):
        Export.objects.update(sent_at=timezone.now())
    assert "What was put into Logs stays there" in owner.get(address).content.decode()
    assert owner.get(file).status_code == 200, "asking deletes nothing"
    assert "nobody gets them any more" in owner.post(address, follow=True).content.decode()
    assert owner.get(file).status_code == 404
    assert owner.get(address).headers["Location"] == where, "there is nothing left to ask about"
    with scope(tenant.organization):
        assert len(audited(actions.EXPORT_DELETED.name)) == 1


def test_an_export_that_is_not_written_yet_is_cancelled_without_a_question(
    tenant: Tenant, owner: Client, home: str
) -> None:
    things = make_audit_things(tenant)
    where = f"{home}audit/exports/{things['audit_export_id']}/"
    with scope(tenant.organization):
        Export.objects.update(state=Export.State.RUNNING, files=[])
    assert f'action="{where}end/"' in owner.get(where).content.decode()
    assert owner.get(f"{where}end/").headers["Location"] == where
    with scope(tenant.organization):
        assert Export.objects.get().state == Export.State.RUNNING, "looking cancels nothing"
    assert "The export is cancelled" in owner.post(f"{where}end/", follow=True).content.decode()


def test_a_search_of_one_s_own_is_nobody_else_s_to_delete(tenant: Tenant, owner: Client, home: str) -> None:
    things = make_audit_things(tenant)
    colleague = add_member(tenant, Role.ADMIN)
    with scope(tenant.organization):
        SavedView.objects.update(is_shared=False, owner_id=colleague.pk)
    address = f"{home}audit/views/{things['audit_view_id']}/delete/"
    assert (owner.get(address).status_code, owner.post(address).status_code) == (404, 404)
    other = Client()
    other.force_login(colleague)
    text = other.get(address).content.decode()
    assert "Staff is not offered any more." in text
    assert "everybody" not in text


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
    for kind in ("targets", "schedules", "streams", "views"):
        assert owner.get(f"{home}audit/{kind}/{uuid4()}/delete/").status_code == 404


def test_who_may_not_export_is_not_even_asked(tenant: Tenant, viewer: Client, home: str) -> None:
    things = make_audit_things(tenant)
    for kind, name, end in (
        ("targets", "audit_target_id", "delete"),
        ("schedules", "audit_schedule_id", "delete"),
        ("exports", "audit_export_id", "end"),
    ):
        address = f"{home}audit/{kind}/{things[name]}/{end}/"
        assert (viewer.get(address).status_code, viewer.post(address).status_code) == (403, 403)
