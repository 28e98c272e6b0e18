"""Projects in the console."""

from django.test import Client

from tenancy import selectors
from tenancy.models import ApiKey, Project
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import projects
from tests.capsule_cloud.web.conftest import SignIn
from tests.factories import Tenant, add_member


def test_a_new_project_leads_to_its_own_page(tenant: Tenant, owner: Client, home: str) -> None:
    answer = owner.post(home + "projects/new/", {"name": "Support bot"}, follow=True)
    assert answer.redirect_chain[-1][0] == home + "projects/support-bot/"
    assert "Project Support bot is ready." in answer.content.decode()


def test_a_name_that_is_taken_is_an_error_beside_the_form(tenant: Tenant, owner: Client, home: str) -> None:
    answer = owner.post(home + "projects/new/", {"name": "Default"})
    assert answer.status_code == 422
    assert "exists already" in answer.content.decode()


def test_settings_are_saved_and_origins_are_read_by_line(tenant: Tenant, owner: Client, home: str) -> None:
    wanted = {
        "name": "Renamed",
        "cors_origins": "https://app.example.com\n\n http://localhost:3000 ",
        "turn_retention_days": "7",
        "idle_seal_minutes": "15",
    }
    assert owner.post(home + "projects/default/update/", wanted).status_code == 302
    with scope(tenant.organization):
        project = Project.objects.get()
    assert project.name == "Renamed"
    assert project.cors_origins == ["https://app.example.com", "http://localhost:3000"]
    assert (project.turn_retention_days, project.idle_seal_minutes) == (7, 15)


def test_a_wrong_origin_is_refused_with_an_example(tenant: Tenant, owner: Client, home: str) -> None:
    wanted = {
        "name": "Default",
        "cors_origins": "app.example.com/x",
        "turn_retention_days": "7",
        "idle_seal_minutes": "5",
    }
    answer = owner.post(home + "projects/default/update/", wanted)
    assert answer.status_code == 422
    assert "write it as https://app.example.com" in answer.content.decode()
    with scope(tenant.organization):
        assert Project.objects.get().turn_retention_days == 90


def test_archiving_ends_the_keys_of_the_project(tenant: Tenant, owner: Client, home: str) -> None:
    assert "1 API key of Default" in owner.get(home + "projects/default/archive/").content.decode()
    answer = owner.post(home + "projects/default/archive/", follow=True)
    assert "is archived" in answer.content.decode()
    with scope(tenant.organization):
        assert selectors.projects() == []
        assert ApiKey.objects.get().revoked_at is not None
    assert owner.get(home + "projects/default/").status_code == 404


def test_a_viewer_reads_the_settings_but_cannot_change_them(tenant: Tenant, viewer: Client, home: str) -> None:
    assert "<form" not in viewer.get(home + "projects/default/").content.decode().split("<main")[1].split("</main>")[0]
    assert viewer.post(home + "projects/default/update/", {"name": "Mine now"}).status_code == 403


def test_asked_for_a_dialog_the_page_comes_without_its_frame(owner: Client, home: str) -> None:
    answer = owner.get(home + "projects/new/", headers={"X-Dialog": "1"})
    assert "<html" not in answer.content.decode()
    assert "dialog-title" in answer.content.decode()
    assert "X-Dialog" in answer["Vary"]


def test_the_console_opens_the_project_s_pages_and_its_keys_and_no_others(
    tenant: Tenant, owner: Client, sign_in: SignIn, home: str
) -> None:
    viewer = add_member(tenant, Role.VIEWER, "Vi")
    with scope(tenant.organization):
        other = projects.create(actor=tenant.actor, name="Other")
    browser = sign_in(viewer)
    assert browser.post(f"{home}keys/{tenant.key.pk}/revoke/").status_code == 403
    wanted = {"user": str(viewer.pk), "role": "admin"}
    owner.post(f"{home}projects/{other.slug}/roles/new/", wanted)
    assert "Admin" in owner.get(f"{home}projects/{other.slug}/").content.decode()
    assert browser.get(f"{home}projects/{other.slug}/archive/").status_code == 200
    assert browser.get(f"{home}projects/{tenant.project.slug}/archive/").status_code == 403
    assert browser.post(f"{home}keys/{tenant.key.pk}/revoke/").status_code == 403
    offered = browser.get(f"{home}keys/new/").content.decode()
    assert other.name in offered
    assert str(tenant.project.pk) not in offered
    made = browser.post(f"{home}keys/new/", {"name": "x", "project": str(other.pk), "scopes": ["memory:write"]})
    assert browser.get(made.headers["Location"]).status_code == 200
    assert owner.get(f"{home}projects/{other.slug}/roles/{viewer.pk}/remove/").status_code == 200
    owner.post(f"{home}projects/{other.slug}/roles/{viewer.pk}/remove/")
    assert browser.get(f"{home}keys/new/").status_code == 403
    assert owner.post(f"{home}projects/{other.slug}/roles/{viewer.pk}/remove/").status_code == 404
