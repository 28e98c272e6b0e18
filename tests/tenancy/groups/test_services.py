"""Groups give the roles that they map to: what is shown is what is done, nobody is locked out, nobody climbs."""

import uuid
from collections.abc import Sequence
from datetime import timedelta

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import Actor
from tenancy.errors import Forbidden, Invalid, LimitReached, NotFound
from tenancy.groups import previews, services
from tenancy.groups.models import GroupRole, PersonGroups
from tenancy.groups.previews import Edit
from tenancy.models import ApiKey, Membership, Organization, ProjectRole, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import keys, members, projects
from tests.factories import Tenant, add_member, make_user
from tests.tenancy.groups.conftest import ENTRA, OKTA, apply, change, preview, roles, say

RANKS = ["owner", "admin", "member", "billing", "viewer"]  # the highest first
GROUPS = st.sampled_from(["a", "b", "c"])
ROLES = st.sampled_from(Role)
SAID = st.lists(st.tuples(st.sets(GROUPS), ROLES), max_size=2)  # of each source: groups, and the default role
EDITS = st.dictionaries(GROUPS, st.none() | ROLES, min_size=1)


def modelled(role: Role, said: Sequence[tuple[set[str], Role]], mapping: dict[str, Role]) -> Role:
    """The rule, told once more."""
    if not mapping or not said or (role == "owner" and "owner" not in mapping.values()):
        return role
    given_by_groups = [mapping[group] for groups, _ in said for group in groups if group in mapping]
    defaults = [default for _, default in said if default != "owner"]
    return min(given_by_groups or defaults or [role], key=RANKS.index)


@given(
    cast=st.lists(st.tuples(ROLES, SAID), min_size=1, max_size=4),
    mapping=st.dictionaries(GROUPS, ROLES),
    edits=EDITS,
    by=st.sampled_from([Role.OWNER, Role.ADMIN]),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_shown_is_what_is_done_and_what_the_rule_says(
    tenant: Tenant,
    users: list[User],
    cast: list[tuple[Role, list[tuple[set[str], Role]]]],
    mapping: dict[str, Role],
    edits: dict[str, Role | None],
    by: Role,
) -> None:
    with scope(tenant.organization):
        told: dict[uuid.UUID, list[tuple[set[str], Role]]] = {}
        for n, (user, (role, said)) in enumerate(zip(users, cast, strict=False)):
            if n:
                Membership.objects.create(user=user, role=role)
            told[user.pk] = [(groups, default) for groups, default in said if groups]
            for source, (groups, default) in zip((OKTA, ENTRA), told[user.pk], strict=False):
                say(tenant, user, *groups, source=source, default_role=default)
        for group, role in mapping.items():
            GroupRole.objects.create(group=group, role=role)
        check(tenant, told, mapping, edits, by)
        transaction.set_rollback(True)


def check(
    tenant: Tenant,
    told: dict[uuid.UUID, list[tuple[set[str], Role]]],
    mapping: dict[str, Role],
    edits: dict[str, Role | None],
    by: Role,
) -> None:
    """Hold one edit to the model."""
    before = roles(tenant)
    edited = {group: role for group, role in {**mapping, **edits}.items() if role}
    steps = [{mapping.get(group), role} for group, role in edits.items() if mapping.get(group) != role]
    wanted = [Edit(group, role) for group, role in edits.items()]
    if not steps or (by == Role.ADMIN and any(Role.OWNER in step for step in steps)):
        with pytest.raises((Invalid, Forbidden)):
            preview(tenant, *wanted, by=by)
        return
    shown = change(tenant, *wanted, by=by)
    expected = {user: modelled(role, told.get(user, []), edited) for user, role in before.items()}
    if Role.OWNER not in expected.values():
        expected[next(user for user, role in before.items() if role == Role.OWNER)] = Role.OWNER
        assert shown.plan.kept is not None
    changed = {user: role for user, role in expected.items() if before[user] != role}
    assert {one.person.user_id: one.role for one in shown.plan.changes} == changed
    assert roles(tenant) == expected
    for one in User.objects.filter(pk__in=told):  # whoever comes in now stays as they are
        apply(tenant, one)
    assert roles(tenant) == expected
    owning = {group for group, role in mapping.items() if role == Role.OWNER}
    for user, role in changed.items():  # an admin's edit makes owners of those alone whom an owner's mapping makes
        if by == Role.ADMIN and role == Role.OWNER:
            assert owning & {group for groups, _ in told[user] for group in groups}


@pytest.fixture
def users(tenant: Tenant) -> list[User]:
    """The owner, and people who are no members yet."""
    return [tenant.owner, *(make_user(f"P{n}") for n in range(3))]


def rank_changes(tenant: Tenant) -> list[AuditEvent]:
    """The changes of roles that the trail has."""
    with scope(tenant.organization):
        return list(AuditEvent.objects.filter(action=actions.MEMBER_ROLE_CHANGED.name))


def key_of(tenant: Tenant, user: User, *scopes: str, parent: uuid.UUID | None = None) -> ApiKey:
    """A key that somebody made."""
    maker = keys.Maker(Actor("user", str(user.pk), user.email), user=user, parent_id=parent)
    with scope(tenant.organization):
        return keys.create(maker=maker, project_id=tenant.project.pk, name="k", scopes=list(scopes)).key


def live_keys(tenant: Tenant) -> set[uuid.UUID]:
    """Which keys go on."""
    with scope(tenant.organization):
        return set(ApiKey.objects.filter(revoked_at=None).values_list("pk", flat=True))


def test_an_edit_says_whose_role_and_whose_keys_go_and_takes_exactly_these(tenant: Tenant) -> None:
    ada, bob, by_hand = (add_member(tenant, Role.ADMIN) for _ in range(3))
    for user in (ada, bob):
        say(tenant, user, "Everyone", "Admins" if user == ada else "Sales")
    writes = key_of(tenant, bob, "memory:read", "memory:write")
    child = key_of(tenant, bob, "memory:read", parent=writes.pk)
    reads = key_of(tenant, bob, "memory:read")
    shown = change(tenant, Edit("Admins", Role.ADMIN), Edit("Everyone", Role.VIEWER))
    assert shown.plan.managed == 2
    assert shown.plan.totals == [(Role.ADMIN, Role.VIEWER, 1)]
    [one] = shown.plan.changes
    assert (one.person.email, set(one.keys), shown.plan.keys) == (bob.email, {writes.pk, child.pk}, 2)
    assert roles(tenant) == {tenant.owner.pk: "owner", ada.pk: "admin", bob.pk: "viewer", by_hand.pk: "admin"}
    assert live_keys(tenant) == {tenant.key.pk, reads.pk}
    [event] = rank_changes(tenant)
    assert (event.target["id"], event.metadata) == (str(bob.pk), {"keys_revoked": 2})
    assert event.reason == "In Everyone, says Okta."
    with scope(tenant.organization):
        told = AuditEvent.objects.filter(action=actions.GROUP_ROLE_CHANGED.name).order_by("id")
        assert [(one.target["label"], one.changes, one.metadata) for one in told] == [
            ("Admins", {"role": [None, "admin"]}, {"people": 1}),
            ("Everyone", {"role": [None, "viewer"]}, {"people": 1}),
        ]


def test_what_changed_since_the_look_is_shown_again_and_not_done(tenant: Tenant) -> None:
    ada, bob = (add_member(tenant, Role.ADMIN) for _ in range(2))
    for user in (ada, bob):
        say(tenant, user, "Staff")
    edit = Edit("Staff", Role.MEMBER)
    seen = preview(tenant, edit)
    assert preview(tenant, edit).fingerprint == seen.fingerprint
    with scope(tenant.organization):
        members.change_role(actor=tenant.actor, actor_role=Role.OWNER, user_id=bob.pk, role="viewer")
    with pytest.raises(services.Changed) as changed, scope(tenant.organization):
        services.change(actor=tenant.actor, actor_role=Role.OWNER, edits=[edit], fingerprint=seen.fingerprint)
    assert changed.value.preview.plan.totals == [(Role.ADMIN, Role.MEMBER, 1), (Role.VIEWER, Role.MEMBER, 1)]
    assert roles(tenant)[ada.pk] == Role.ADMIN
    with scope(tenant.organization):
        assert not GroupRole.objects.exists()


def test_a_preview_asks_no_more_questions_of_many_than_of_few(tenant: Tenant) -> None:
    counts = []
    for more in (2, 20):
        for user in [add_member(tenant, Role.ADMIN) for _ in range(more)]:
            say(tenant, user, "Staff")
            key_of(tenant, user, "memory:read", "memory:write")
        with CaptureQueriesContext(connection) as asked:
            shown = preview(tenant, Edit("Staff", Role.VIEWER))
        counts.append(len(asked))
    assert counts[0] == counts[1]
    assert len(shown.plan.changes) == shown.plan.keys == 22


def test_more_people_than_one_transaction_takes_are_refused(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_CHANGED", 1)
    monkeypatch.setattr(services, "MOST_MOVED", 0)
    for user in [add_member(tenant, Role.ADMIN) for _ in range(2)]:
        say(tenant, user, "Staff")
    with pytest.raises(LimitReached):
        change(tenant, Edit("Staff", Role.VIEWER))
    assert Role.VIEWER not in roles(tenant).values()
    say(tenant, tenant.owner, "Bosses")
    with pytest.raises(LimitReached, match="in projects"):
        change(tenant, Edit("Bosses", Role.ADMIN, tenant.project.pk))


def test_groups_give_roles_in_projects_and_what_is_given_by_hand_stays(tenant: Tenant) -> None:
    ada = add_member(tenant, Role.VIEWER)
    say(tenant, ada, "Web", "Leads")
    with scope(tenant.organization):
        other = projects.create(actor=tenant.actor, name="Other")
        old = projects.create(actor=tenant.actor, name="Old")
    mine = tenant.project.pk
    edits = [Edit("Web", Role.MEMBER, mine), Edit("Leads", Role.ADMIN, mine), Edit("Web", Role.VIEWER, old.pk)]
    shown = change(tenant, *edits)
    [one] = shown.plan.changes
    assert {(move.project, move.before, move.after) for move in one.moves} == {
        ("Default", None, Role.ADMIN),
        ("Old", None, Role.VIEWER),
    }
    assert one.role == Role.VIEWER
    key = key_of(tenant, ada, "memory:write")
    with scope(tenant.organization):
        projects.archive(actor=tenant.actor, project_id=old.pk)
    with pytest.raises(NotFound):
        preview(tenant, Edit("Leads", Role.VIEWER, old.pk))
    change(tenant, Edit("Leads", None, mine), Edit("Web", None, old.pk), Edit("Leads", Role.MEMBER, other.pk))
    with scope(tenant.organization):
        held = {(row.project_id, row.role) for row in ProjectRole.objects.all()}
        ProjectRole.objects.filter(project=other).update(is_managed=False, role="admin")
    assert held == {(mine, "member"), (other.pk, "member")}
    assert key.pk in live_keys(tenant)  # a member's role is enough for it
    assert change(tenant, Edit("Web", None, mine), Edit("Leads", None, other.pk)).plan.keys == 1
    with scope(tenant.organization):
        assert [(row.project_id, row.role) for row in ProjectRole.objects.all()] == [(other.pk, "admin")]
    assert key.pk not in live_keys(tenant)


@pytest.mark.parametrize("is_rise", [True, False])
def test_a_key_that_is_within_what_somebody_has_in_the_end_goes_on(tenant: Tenant, is_rise: bool) -> None:
    before, after = (Role.VIEWER, Role.MEMBER) if is_rise else (Role.MEMBER, Role.VIEWER)
    ada = add_member(tenant, before)
    say(tenant, ada, "Web")
    mine = tenant.project.pk
    if is_rise:
        change(tenant, Edit("Web", Role.MEMBER, mine))
    key = key_of(tenant, ada, "memory:write")
    change(tenant, Edit("Web", after), Edit("Web", None if is_rise else Role.MEMBER, mine))
    assert roles(tenant)[ada.pk] == after
    assert key.pk in live_keys(tenant)


def test_the_last_owner_stays_and_that_is_told(tenant: Tenant) -> None:
    boss = add_member(tenant, Role.VIEWER)
    say(tenant, tenant.owner, "Staff")
    say(tenant, boss, "Staff")
    shown = change(tenant, Edit("Bosses", Role.OWNER), Edit("Staff", Role.MEMBER))
    assert shown.plan.kept is not None
    assert shown.plan.kept.user_id == tenant.owner.pk
    with scope(tenant.organization):
        [event] = AuditEvent.objects.filter(action=actions.OWNER_KEPT.name)
    assert event.target["id"] == str(tenant.owner.pk)
    assert apply(tenant, tenant.owner) == Role.OWNER  # also whenever they come
    say(tenant, boss, "Bosses")
    assert apply(tenant, boss) == Role.OWNER
    assert apply(tenant, tenant.owner) == Role.MEMBER  # now that there is another


def test_many_changes_at_once_leave_an_owner_or_are_refused(tenant: Tenant) -> None:
    heir = add_member(tenant, Role.VIEWER)
    wanted = {tenant.owner.pk: Role.MEMBER}
    with pytest.raises(members.LastOwner), scope(tenant.organization):
        members.change_roles(actor=tenant.actor, roles=wanted, reasons={tenant.owner.pk: ""})
    wanted |= {heir.pk: Role.OWNER}
    with scope(tenant.organization):
        members.change_roles(actor=tenant.actor, roles=wanted, reasons=dict.fromkeys(wanted, "Why."))
    assert roles(tenant) == wanted
    assert [one.reason for one in rank_changes(tenant)] == ["Why.", "Why."]


def test_where_sign_on_is_required_the_last_owner_with_a_second_factor_stays(tenant: Tenant) -> None:
    boss = add_member(tenant, Role.OWNER)
    say(tenant, tenant.owner, "Staff")
    with scope(tenant.organization):
        Organization.objects.update(is_sso_required=True)
    edits = [Edit("Bosses", Role.OWNER), Edit("Staff", Role.MEMBER)]
    assert preview(tenant, *edits).plan.kept is None  # neither has one: that is no worse than before
    TOTP.activate(tenant.owner, generate_totp_secret())
    assert preview(tenant, *edits).plan.kept is not None
    TOTP.activate(boss, generate_totp_secret())
    assert preview(tenant, *edits).plan.kept is None
    say(tenant, boss, "Staff")
    kept = preview(tenant, *edits).plan.kept
    assert kept is not None
    assert kept.user_id == tenant.owner.pk


def test_an_admin_neither_makes_groups_of_owners_nor_ends_them(tenant: Tenant) -> None:
    change(tenant, Edit("Bosses", Role.OWNER), Edit("Staff", Role.MEMBER))
    for role in (None, Role.ADMIN):
        with pytest.raises(Forbidden):
            preview(tenant, Edit("Bosses", role), by=Role.ADMIN)
    with pytest.raises(Forbidden):
        preview(tenant, Edit("Staff", Role.OWNER), by=Role.ADMIN)
    change(tenant, Edit("Staff", Role.ADMIN), by=Role.ADMIN)


def test_who_is_no_member_or_was_never_named_by_a_source_is_not_touched(tenant: Tenant) -> None:
    ada, nobody = add_member(tenant, Role.ADMIN), make_user()
    say(tenant, nobody, "Staff")
    assert apply(tenant, nobody) is None
    change(tenant, Edit("Staff", Role.VIEWER))
    assert apply(tenant, nobody) is None
    assert apply(tenant, ada) is None
    say(tenant, ada)  # the source has named groups of somebody else: this one is in none
    assert apply(tenant, ada) == Role.VIEWER
    with scope(tenant.organization):
        services.forget(source_id=OKTA, user=ada)
        assert PersonGroups.objects.count() == 1
        services.forget(source_id=OKTA)
        assert not PersonGroups.objects.exists()


def test_who_leaves_and_comes_back_starts_anew_and_is_forgotten_after_a_while(tenant: Tenant) -> None:
    ada, bob = (add_member(tenant, Role.ADMIN) for _ in range(2))
    say(tenant, ada, "Staff")
    say(tenant, bob, "Staff")
    with scope(tenant.organization):
        members.remove(actor=tenant.actor, actor_role=Role.OWNER, user_id=ada.pk)
        Membership.objects.create(user=ada, role=Role.ADMIN)
    [one] = change(tenant, Edit("Staff", Role.VIEWER)).plan.changes
    assert one.person.user_id == bob.pk
    assert apply(tenant, ada) is None
    with scope(tenant.organization):
        assert services.forget_leavers(before=timezone.now() - timedelta(days=1)) == 0
        assert services.forget_leavers(before=timezone.now()) == 1
        assert [row.user_id for row in PersonGroups.objects.all()] == [bob.pk]
    say(tenant, ada, "Staff")
    assert apply(tenant, ada) == Role.VIEWER


def test_a_source_that_has_never_named_a_group_decides_nothing(tenant: Tenant) -> None:
    ada = add_member(tenant, Role.ADMIN)
    say(tenant, ada)
    change(tenant, Edit("Staff", Role.VIEWER))
    assert apply(tenant, ada) is None


def test_what_is_kept_of_a_person_is_bounded_and_says_so(tenant: Tenant) -> None:
    say(tenant, tenant.owner, *(f"g{n}" for n in range(services.MOST_GROUPS)), "x" * 256, "", "a\x00b", "one more")
    with scope(tenant.organization):
        row = PersonGroups.objects.get()
    assert len(row.groups) == services.MOST_GROUPS
    assert row.note.startswith("4 of 1004 groups")
    say(tenant, tenant.owner, "g1", "g1")
    with scope(tenant.organization):
        row = PersonGroups.objects.get()
    assert (row.groups, row.note) == (["g1"], "")


@pytest.mark.parametrize(
    ("edits", "raises"),
    [
        ([], Invalid),
        ([Edit(f"g{n}", Role.VIEWER) for n in range(previews.MOST_EDITS + 1)], Invalid),
        ([Edit("a", Role.VIEWER), Edit("a", Role.MEMBER)], Invalid),
        ([Edit(" ", Role.VIEWER)], Invalid),
        ([Edit("a\x00", Role.VIEWER)], Invalid),
        ([Edit("a" * 256, Role.VIEWER)], Invalid),
        ([Edit("a", None)], Invalid),
        ([Edit("a", Role.VIEWER, uuid.UUID(int=5))], NotFound),
    ],
)
def test_edits_that_make_no_sense_are_refused(tenant: Tenant, edits: list[Edit], raises: type[Exception]) -> None:
    with pytest.raises(raises):
        preview(tenant, *edits)


def test_a_project_has_no_owners_and_a_mapping_no_end(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid, match="role in the project"):
        preview(tenant, Edit("a", Role.BILLING, tenant.project.pk))
    monkeypatch.setattr(previews, "MOST_MAPPED", 1)
    change(tenant, Edit("a", Role.VIEWER))
    with pytest.raises(LimitReached):
        preview(tenant, Edit("b", Role.VIEWER))


def test_a_stranger_sees_nothing_of_it(tenant: Tenant, stranger: Tenant) -> None:
    say(tenant, tenant.owner, "Staff")
    change(tenant, Edit("Staff", Role.MEMBER))
    with scope(stranger.organization):
        assert not GroupRole.objects.exists()
        assert not PersonGroups.objects.exists()
        services.forget(source_id=OKTA)
    with pytest.raises(NotFound):
        preview(stranger, Edit("Staff", Role.MEMBER, tenant.project.pk))
    with scope(tenant.organization):
        assert PersonGroups.objects.exists()
