"""The console's groups: what an empty page teaches, what an edit would do, and that exactly this is done."""

from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from tenancy.groups.previews import Edit
from tenancy.models import Membership, Project, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import projects
from tenancy.sso.models import IdentityProvider, SignIn
from tests.capsule_cloud.web import conftest as console
from tests.capsule_cloud.web.conftest import queries
from tests.capsule_cloud.web.sso_things import put_provider
from tests.factories import PASSWORD, Tenant, add_member
from tests.tenancy.groups.conftest import change, roles, say

Page = Callable[..., str]
Lines = list[tuple[str, str, str]]  # group, role, project


@pytest.fixture
def admin(tenant: Tenant, sign_in: console.SignIn) -> Client:
    """The browser of an admin."""
    return sign_in(add_member(tenant, Role.ADMIN, "Bea"))


def form(lines: Lines, **more: str) -> dict[str, Any]:
    """The form with these lines."""
    fields: dict[str, Any] = {"form-TOTAL_FORMS": len(lines), "form-INITIAL_FORMS": 0}
    for n, (group, role, project) in enumerate(lines):
        fields |= {f"form-{n}-group": group, f"form-{n}-role": role, f"form-{n}-project": project or "organization"}
    return fields | more


def post(browser: Client, home: str, *lines: tuple[str, str, str], **more: str) -> HttpResponse:
    """Send it."""
    return browser.post(f"{home}sso/groups/edit/", form(list(lines), **more))  # type: ignore[return-value]


def fingerprint_in(answer: HttpResponse) -> str:
    """What confirms the preview."""
    return answer.content.decode().partition('name="fingerprint" value="')[2].partition('"')[0]


def staff(tenant: Tenant, *names: str) -> list[User]:
    """Admins whom a source names in Staff."""
    found = [add_member(tenant, Role.ADMIN, name) for name in names]
    for user in found:
        say(tenant, user, "Staff", "Loud & <proud>")
    return found


def test_an_empty_page_teaches(page: Page) -> None:
    text = page("sso/groups/")
    for part in (
        "Let groups give roles",
        "Have groups sent",
        "Look, then confirm",
        "No identity provider or directory",
    ):
        assert part in text


def test_a_preview_names_everybody_and_confirming_it_does_that(
    tenant: Tenant, owner: Client, home: str, page: Page
) -> None:
    ada, _ = staff(tenant, "Ada", "Bob")
    answer = post(owner, home, ("Staff", "viewer", ""), ("", "member", ""))
    text = answer.content.decode()
    for part in ("2 people change roles", "Admin → Viewer", ada.email, "In Staff, says Okta.", "Change 2 roles"):
        assert part in text
    assert Role.VIEWER not in roles(tenant).values()
    done = post(owner, home, ("Staff", "viewer", ""), fingerprint=fingerprint_in(answer))
    assert done["Location"] == f"{home}sso/groups/"
    assert roles(tenant)[ada.pk] == Role.VIEWER
    text = page("sso/groups/")
    for part in ("Saved. 2 people have another role now.", "Staff", "Loud &amp; &lt;proud&gt;"):
        assert part in text


def test_what_changed_meanwhile_is_shown_again(tenant: Tenant, owner: Client, home: str) -> None:
    staff(tenant, "Ada")
    seen = fingerprint_in(post(owner, home, ("Staff", "viewer", "")))
    staff(tenant, "Bob")
    answer = post(owner, home, ("Staff", "viewer", ""), fingerprint=seen)
    assert answer.status_code == 409
    assert b"Something has changed since you looked" in answer.content
    assert Role.VIEWER not in roles(tenant).values()
    assert post(owner, home, ("Staff", "viewer", ""), fingerprint=fingerprint_in(answer)).status_code == 302


def test_one_goes_back_with_what_was_typed(owner: Client, home: str) -> None:
    answer = post(owner, home, ("Staff", "viewer", ""), back="1", fingerprint="x")
    assert answer.status_code == 200
    assert b'value="Staff"' in answer.content


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([("", "member", "")], "Change 1 to 100 groups at once."),
        ([("Staff", "none", "")], "The mapping is so already."),
        ([("Staff", "wizard", "")], "Select a valid choice."),
        ([("Staff", "billing", "its project")], "Choose a role in the project"),
        ([("Staff", "member", "")] * 101, "Please submit at most 100 forms."),
    ],
)
def test_what_makes_no_sense_is_said_beside_the_form(
    tenant: Tenant, owner: Client, home: str, lines: Lines, says: str
) -> None:
    answer = post(owner, home, *((group, role, place and str(tenant.project.pk)) for group, role, place in lines))
    assert answer.status_code == 422
    assert says in answer.content.decode()


def test_only_owners_are_offered_the_owners_role(tenant: Tenant, owner: Client, admin: Client, home: str) -> None:
    for browser, is_offered in ((owner, True), (admin, False)):
        text = browser.get(f"{home}sso/groups/edit/").content.decode()
        assert ('<option value="owner">' in text) is is_offered
    assert post(admin, home, ("Staff", "owner", "")).status_code == 422
    change(tenant, Edit("Bosses", Role.OWNER))
    answer = post(admin, home, ("Bosses", "none", ""))
    assert "Only an owner can map a group to the owner&#x27;s role" in answer.content.decode()


def test_a_group_gives_a_role_in_a_project(tenant: Tenant, owner: Client, home: str, page: Page) -> None:
    [ada] = staff(tenant, "Ada")
    with scope(tenant.organization):
        Membership.objects.filter(user=ada).update(role=Role.VIEWER)
        old = projects.create(actor=tenant.actor, name="Old")
    line = ("Staff", "admin", str(tenant.project.pk))
    answer = post(owner, home, line)
    assert b"Default: none" in answer.content
    assert b"Default: Admin" in answer.content
    post(owner, home, line, fingerprint=fingerprint_in(answer))
    change(tenant, Edit("Staff", Role.VIEWER, old.pk))
    with scope(tenant.organization):
        projects.archive(actor=tenant.actor, project_id=old.pk)
        assert Project.objects.filter(pk=old.pk).exists()
    text = page("sso/groups/")
    assert "archived" in text
    # what stands there can be taken away again
    address = f"{home}sso/groups/edit/?group=Staff&role=none&project={old.pk}"
    assert str(old.pk) in owner.get(address).content.decode()
    gone = post(owner, home, ("Staff", "none", str(old.pk)))
    assert post(owner, home, ("Staff", "none", str(old.pk)), fingerprint=fingerprint_in(gone)).status_code == 302


def test_a_last_owner_that_stays_is_told(tenant: Tenant, owner: Client, home: str, page: Page) -> None:
    say(tenant, tenant.owner, "Staff")
    answer = post(owner, home, ("Bosses", "owner", ""), ("Staff", "member", ""))
    assert b"stays an owner against their groups" in answer.content
    post(owner, home, ("Bosses", "owner", ""), ("Staff", "member", ""), fingerprint=fingerprint_in(answer))
    assert "stays an owner against their groups" in page("sso/groups/")


def test_a_mapping_that_changes_too_many_is_not_offered(
    tenant: Tenant, owner: Client, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capsule_cloud.web.sso_groups.services.MOST_CHANGED", 1)
    monkeypatch.setattr("capsule_cloud.web.sso_groups.MOST_SHOWN", 1)
    staff(tenant, "Ada", "Bob")
    answer = post(owner, home, ("Staff", "viewer", ""))
    for part in (b"At most 1 people change at once", b"And 1 more."):
        assert part in answer.content
    refused = post(owner, home, ("Staff", "viewer", ""), fingerprint=fingerprint_in(answer))
    assert refused.status_code == 422


def test_groups_that_are_not_kept_are_told(tenant: Tenant, page: Page) -> None:
    staff(tenant, "Ada")
    assert "Not all groups" not in page("sso/groups/")
    say(tenant, add_member(tenant, Role.VIEWER), "x" * 256, "Staff")
    assert "Not all groups of 1 are kept" in page("sso/groups/")


def test_a_viewer_sees_nothing_of_it(viewer: Client, home: str) -> None:
    for page in ("groups/", "groups/edit/"):
        assert viewer.get(f"{home}sso/{page}").status_code == 403


def answer_of(tenant: Tenant, provider: IdentityProvider, email: str, **attributes: list[str]) -> None:
    """An answer of the provider that nobody came for."""
    with scope(tenant.organization):
        SignIn.objects.create(
            provider=provider,
            provider_version=1,
            state="tested",
            subject=email,
            attributes=attributes,
            expires_at=timezone.now(),
        )


def test_the_last_answers_say_which_role_would_come_out(tenant: Tenant, page: Page) -> None:
    provider = put_provider(tenant)
    ada = add_member(tenant, Role.ADMIN, "Ada")
    answer_of(tenant, provider, ada.email, groups=["Staff"])
    assert "No group gives a role in the organization." in page("sso/groups/")
    change(tenant, Edit("Staff", Role.MEMBER), Edit("Staff", Role.ADMIN, tenant.project.pk))
    text = page("sso/groups/")
    for part in ("becomes", "In Staff, says Okta.", "Admin in Default."):
        assert part in text
    say(tenant, ada, "Staff", source=provider.pk)
    answer_of(tenant, provider, ada.email)
    assert "In no group that gives a role, says Okta." in page("sso/groups/")
    answer_of(tenant, provider, ada.email, hasgroups=["true"])
    assert "In too many groups to be sent" in page("sso/groups/")
    answer_of(tenant, provider, tenant.owner.email, groups=["Staff"])
    assert "Owners stay owners for as long as no group makes any." in page("sso/groups/")


def test_a_source_that_has_named_no_group_changes_nothing(tenant: Tenant, page: Page) -> None:
    provider = put_provider(tenant)
    change(tenant, Edit("Staff", Role.MEMBER))
    answer_of(tenant, provider, "new@acme.com")
    assert "No identity provider or directory has named a group yet." in page("sso/groups/")


def test_what_of_a_provider_counts_is_chosen_after_one_has_shown_who_one_is(
    tenant: Tenant, owner: Client, home: str
) -> None:
    provider = put_provider(tenant)
    address = f"{home}sso/providers/{provider.pk}/trust/"
    assert owner.get(address)["Location"].startswith("/account/reauthenticate/")
    owner.post("/account/reauthenticate/", {"password": PASSWORD})
    assert owner.post(address, {"groups_attribute": "x" * 256}).status_code == 422
    answer = owner.post(address, {"groups_attribute": "teams", "is_mfa_trusted": "on"})
    assert answer["Location"] == f"{home}sso/providers/{provider.pk}/"
    text = owner.get(answer["Location"]).content.decode()
    assert "teams" in text
    assert "its own counts" in text
    assert owner.get(f"{home}sso/providers/{tenant.project.pk}/trust/").status_code == 404


def test_the_page_asks_no_more_of_many_people(tenant: Tenant, owner: Client, home: str) -> None:
    change(tenant, Edit("Staff", Role.ADMIN), Edit("Loud & <proud>", Role.ADMIN))
    counts = []
    for names in (("A",), ("B", "C", "D")):
        staff(tenant, *names)
        counts.append(queries(owner, f"{home}sso/groups/"))
    assert counts[0] == counts[1]


def test_members_whose_role_groups_decide_are_marked(tenant: Tenant, page: Page) -> None:
    [ada] = staff(tenant, "Ada")
    assert "by groups" not in page("members/")
    assert "Groups decide" not in page(f"members/{ada.pk}/role/")
    change(tenant, Edit("Staff", Role.MEMBER))
    assert page("members/").count("by groups") == 1
    assert "Groups decide this role." in page(f"members/{ada.pk}/role/")


def test_a_sign_in_says_which_role_it_would_give_and_when_groups_were_left_out(tenant: Tenant, page: Page) -> None:
    provider = put_provider(tenant)
    change(tenant, Edit("Staff", Role.MEMBER))
    ada = add_member(tenant, Role.ADMIN, "Ada")
    for attributes, says in (
        ({"groups": ["Staff"]}, "In Staff, says Okta."),
        ({"hasgroups": ["true"]}, "in more groups than the identity provider names"),
    ):
        answer_of(tenant, provider, ada.email, **attributes)
        with scope(tenant.organization):
            last = SignIn.objects.order_by("-id")[0]
        assert says in page(f"sso/sign-ins/{last.pk}/")
