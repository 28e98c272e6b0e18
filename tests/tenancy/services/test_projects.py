"""Projects are created, changed and archived within the plan."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenancy import access
from tenancy.audit import actions, selectors
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.models import Organization, Project
from tenancy.scope import scope
from tenancy.services import projects
from tests.factories import Tenant, make_tenant
from tests.threads import at_once


def create(tenant: Tenant, name: str, slug: str = "") -> Project:
    """A project by the tenant's owner."""
    with scope(tenant.organization):
        return projects.create(actor=tenant.actor, name=name, slug=slug)


def update(tenant: Tenant, **changes: Any) -> Project:
    """Change the tenant's first project."""
    with scope(tenant.organization):
        return projects.update(actor=tenant.actor, project_id=tenant.project.pk, **changes)


def test_the_slug_comes_from_the_name_or_is_given(tenant: Tenant) -> None:
    assert create(tenant, "Support Bot").slug == "support-bot"
    assert create(tenant, "Support Bot", "other").slug == "other"
    assert create(tenant, "x" * 120).slug == "x" * 60
    with scope(tenant.organization):
        assert len(selectors.events(action=actions.PROJECT_CREATED.name)) == 3


def test_a_taken_slug_is_refused_even_when_its_project_is_archived(tenant: Tenant, stranger: Tenant) -> None:
    with pytest.raises(Conflict):
        create(tenant, "Default")
    made = create(tenant, "Old")
    with scope(tenant.organization):
        projects.archive(actor=tenant.actor, project_id=made.pk)
    with pytest.raises(Conflict):
        create(tenant, "Old")
    assert create(stranger, "Old").slug == "old"


def test_projects_named_in_other_scripts_get_slugs_of_their_own(tenant: Tenant) -> None:
    slugs = {create(tenant, name).slug for name in ("東京", "大阪", "京都")}
    assert len(slugs) == 3


@pytest.mark.parametrize(("field", "name", "slug"), [("name", "", ""), ("name", "a\0", ""), ("slug", "A", "???")])
def test_a_name_or_slug_that_says_nothing_is_refused(field: str, name: str, slug: str, tenant: Tenant) -> None:
    with pytest.raises(Invalid) as refusal:
        create(tenant, name, slug)
    assert refusal.value.field == field


def test_the_plan_counts_projects_that_are_not_archived(tenant: Tenant) -> None:
    with scope(tenant.organization):
        Organization.objects.update(project_limit=2)
    second = create(tenant, "Second")
    with pytest.raises(LimitReached):
        create(tenant, "Third")
    with scope(tenant.organization):
        projects.archive(actor=tenant.actor, project_id=second.pk)
    assert create(tenant, "Third").slug == "third"


def test_projects_made_at_once_do_not_pass_the_plan(transactional_db: None) -> None:
    tenant = make_tenant()
    with scope(tenant.organization):
        Organization.objects.update(project_limit=2)
    results = at_once(*[lambda n=n: create(tenant, f"P {n}") for n in range(4)])
    assert sorted(type(result).__name__ for result in results) == ["LimitReached"] * 3 + ["Project"]


def test_only_what_changes_is_recorded(tenant: Tenant) -> None:
    changed = update(tenant, name=" New ", cors_origins=["HTTPS://App.Example.com/", "https://app.example.com"])
    assert (changed.name, changed.cors_origins) == ("New", ["https://app.example.com"])
    update(tenant, name="New", turn_retention_days=changed.turn_retention_days)
    update(tenant)
    with scope(tenant.organization):
        [event] = selectors.events(action=actions.PROJECT_UPDATED.name)
    assert event.changes == {"name": ["Default", "New"], "cors_origins": [[], ["https://app.example.com"]]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("turn_retention_days", 0),
        ("turn_retention_days", 3651),
        ("idle_seal_minutes", 0),
        ("idle_seal_minutes", 10081),
        ("cors_origins", [f"https://{n}.example.com" for n in range(51)]),
    ],
)
def test_a_setting_out_of_range_is_refused(field: str, value: Any, tenant: Tenant) -> None:
    with pytest.raises(Invalid) as refusal:
        update(tenant, **{field: value})
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "origin", ["*", "https://app.example.com", "http://localhost:3000", "https://[::1]:8443", "http://10.0.0.1"]
)
def test_origins_are_kept_as_browsers_send_them(origin: str) -> None:
    assert projects.clean_origin(f" {origin.upper()}/ ") == origin


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "example.com",
        "https://",
        "https://[",
        "https://[::1",
        "https://a b",
        "https://example.com/path",
        "https://user@example.com",
        "https://example.com:port",
        "https://example.com?x",
        "ftp://example.com",
        "null",
        "https://*.example.com",
        "https://example.com\0",
        "https://" + "a" * 255,
    ],
)
def test_what_no_browser_sends_is_no_origin(origin: str) -> None:
    with pytest.raises(Invalid):
        projects.clean_origin(origin)


@given(origin=st.text(max_size=300) | st.from_regex(r"https?://\S{0,40}", fullmatch=True))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_text_is_an_origin_or_refused(origin: str) -> None:
    try:
        clean = projects.clean_origin(origin)
    except Invalid:
        return
    assert projects.clean_origin(clean) == clean


def test_archiving_ends_the_keys_and_keeps_the_project(tenant: Tenant) -> None:
    with scope(tenant.organization):
        projects.archive(actor=tenant.actor, project_id=tenant.project.pk)
        [event] = selectors.events(action=actions.PROJECT_ARCHIVED.name)
        assert event.metadata == {"keys_revoked": 1}
        assert Project.objects.get().archived_at is not None
        for act in (projects.archive, projects.update):
            with pytest.raises(NotFound):
                act(actor=tenant.actor, project_id=tenant.project.pk)
    access.reset_key_cache()
    with pytest.raises(access.InvalidKey):
        access.authenticate_key(f"Bearer {tenant.secret}", "127.0.0.1")


def test_projects_of_others_are_not_found(tenant: Tenant, stranger: Tenant) -> None:
    with scope(stranger.organization):
        for act in (projects.archive, projects.update):
            with pytest.raises(NotFound):
                act(actor=stranger.actor, project_id=tenant.project.pk)
