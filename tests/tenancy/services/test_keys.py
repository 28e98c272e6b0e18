"""API keys: made within their maker's rights, rotated with an overlap, revoked with everything below."""

from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenancy import access
from tenancy.audit import actions, selectors
from tenancy.audit.services import SYSTEM, Actor
from tenancy.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound
from tenancy.models import ApiKey, Organization, User
from tenancy.roles import RIGHTS, SCOPE_RIGHTS, KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys, members, projects
from tests.factories import Tenant, add_member, make_tenant
from tests.raw import connect, rows_of
from tests.threads import at_once

SOON, LATER = timedelta(hours=1), timedelta(hours=2)
READ = [KeyScope.MEMORY_READ.value]


def actor(user: User) -> Actor:
    """The person, acting."""
    return Actor("user", str(user.pk), user.email)


def key_actor(key: ApiKey) -> Actor:
    """The key, acting."""
    return Actor("api_key", str(key.pk), key.name)


def make(tenant: Tenant, maker: keys.Maker | None = None, **values: Any) -> keys.NewKey:
    """A key of the tenant's project, in its scope."""
    maker = maker or keys.Maker(tenant.actor, user=tenant.owner, role=Role.OWNER)
    wanted: dict[str, Any] = {"project_id": tenant.project.pk, "name": "k", "scopes": READ}
    with scope(tenant.organization):
        return keys.create(maker=maker, **(wanted | values))


def child(tenant: Tenant, parent: ApiKey, **values: Any) -> keys.NewKey:
    """A key below `parent`."""
    return make(tenant, keys.Maker(key_actor(parent), parent_id=parent.pk), **values)


def works(secret: str) -> bool:
    """Whether the key lets anybody in now."""
    access.reset_key_cache()
    try:
        access.authenticate_key(f"Bearer {secret}", "127.0.0.1")
    except access.InvalidKey:
        return False
    return True


def rotate(tenant: Tenant, key: ApiKey, overlap: timedelta, by: Actor | None = None) -> keys.NewKey:
    """Rotate in the tenant's scope, as its owner or as somebody else."""
    with scope(tenant.organization):
        return keys.rotate(actor=by or tenant.actor, key_id=key.pk, overlap=overlap)


def revoke(tenant: Tenant, key: ApiKey, by: Actor | None = None) -> int:
    """Revoke in the tenant's scope."""
    with scope(tenant.organization):
        return keys.revoke(actor=by or tenant.actor, key_id=key.pk)


def test_the_secret_is_nowhere_in_the_database(transactional_db: None) -> None:
    tenant = make_tenant()
    stored = rows_of("tenancy_apikey", "organization_id", tenant.organization.pk)
    trail = rows_of("audit_auditevent", "organization_id", tenant.organization.pk)
    assert not [row for row in stored + trail if tenant.secret in row or tenant.secret[12:] in row]
    assert len(bytes(tenant.key.digest)) == 32


def test_making_a_key_is_recorded_without_its_secret(tenant: Tenant) -> None:
    made = make(
        tenant, name=" Server ", expires_at=timezone.now() + SOON, allowed_cidrs=["203.0.113.9/24", "2001:db8::/32"]
    )
    assert (made.key.name, made.key.allowed_cidrs) == ("Server", ["203.0.113.0/24", "2001:db8::/32"])
    assert made.secret.startswith(made.key.hint)
    with scope(tenant.organization):
        event = selectors.events(action=actions.KEY_CREATED.name)[0]
    assert event.target["id"] == str(made.key.pk)
    assert event.metadata["scopes"] == READ
    assert made.secret not in str([event.target, event.metadata])


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", {"name": " "}),
        ("name", {"name": "x" * 121}),
        ("name", {"name": "two\nlines"}),
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": ["memory:everything"]}),
        ("expires_at", {"expires_at": timezone.now() - SOON}),
        ("requests_per_minute", {"requests_per_minute": 0}),
        ("requests_per_minute", {"requests_per_minute": 1_000_001}),
        ("allowed_cidrs", {"allowed_cidrs": ["10.0.0.0/33"]}),
        ("allowed_cidrs", {"allowed_cidrs": ["example.com"]}),
        ("allowed_cidrs", {"allowed_cidrs": ["fe80::1%eth0/64"]}),
        ("allowed_cidrs", {"allowed_cidrs": [f"10.0.{n}.0/24" for n in range(101)]}),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(field: str, values: dict[str, Any], tenant: Tenant) -> None:
    with pytest.raises(Invalid) as refusal:
        make(tenant, **values)
    assert refusal.value.field == field


@given(text=st.text(max_size=60))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_as_an_address_range_is_stored_as_one_or_refused(text: str, tenant: Tenant) -> None:
    try:
        made = make(tenant, allowed_cidrs=[text])
    except (Invalid, LimitReached):
        return
    assert len(made.key.allowed_cidrs[0]) <= 43


def test_a_key_is_bound_to_a_project_of_its_organization(tenant: Tenant, stranger: Tenant) -> None:
    with pytest.raises(NotFound):
        make(tenant, project_id=stranger.project.pk)
    with scope(tenant.organization):
        projects.archive(actor=tenant.actor, project_id=tenant.project.pk)
    with pytest.raises(NotFound):
        make(tenant)


def test_the_plan_counts_living_keys_alone(tenant: Tenant) -> None:
    with scope(tenant.organization):
        Organization.objects.update(key_limit=2)
    second = make(tenant)
    with pytest.raises(LimitReached):
        make(tenant)
    with scope(tenant.organization):
        ApiKey.objects.filter(pk=second.key.pk).update(expires_at=timezone.now() - SOON)
    third = make(tenant)
    revoke(tenant, third.key)
    assert make(tenant).secret


def test_keys_made_at_once_do_not_pass_the_plan_s_limit(transactional_db: None) -> None:
    tenant = make_tenant()
    with scope(tenant.organization):
        Organization.objects.update(key_limit=3)
    made = at_once(*[lambda: make(tenant)] * 5)
    assert sorted(type(one).__name__ for one in made) == ["LimitReached"] * 3 + ["NewKey"] * 2


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("key_scope", KeyScope)
def test_nobody_makes_a_key_that_can_do_more_than_they_can(role: Role, key_scope: KeyScope, tenant: Tenant) -> None:
    member = add_member(tenant, role)
    maker = keys.Maker(actor(member), user=member, role=role)
    if SCOPE_RIGHTS[key_scope] <= RIGHTS[role]:
        assert make(tenant, maker, scopes=[key_scope]).key.scopes == [key_scope]
    else:
        with pytest.raises(Forbidden):
            make(tenant, maker, scopes=[key_scope])


def test_the_rank_that_counts_is_the_present_one(tenant: Tenant) -> None:
    member = add_member(tenant, Role.ADMIN)
    maker = keys.Maker(actor(member), user=member, role=Role.ADMIN)
    with scope(tenant.organization):
        members.change_role(actor=tenant.actor, actor_role=Role.OWNER, user_id=member.pk, role=Role.VIEWER)
    with pytest.raises(Forbidden):
        make(tenant, maker, scopes=[KeyScope.ORG_WRITE])
    with scope(tenant.organization):
        members.remove(actor=tenant.actor, actor_role=Role.OWNER, user_id=member.pk)
    with pytest.raises(Forbidden):
        make(tenant, maker)


def test_a_key_without_anybody_behind_it_is_refused(tenant: Tenant) -> None:
    with pytest.raises(Forbidden):
        make(tenant, keys.Maker(SYSTEM))


def test_a_key_made_while_its_maker_is_removed_does_not_live_on(transactional_db: None) -> None:
    tenant = make_tenant()
    member = add_member(tenant, Role.MEMBER)
    maker = keys.Maker(actor(member), user=member, role=Role.MEMBER)

    def remove() -> int:
        with scope(tenant.organization):
            return members.remove(actor=tenant.actor, actor_role=Role.OWNER, user_id=member.pk)

    at_once(lambda: make(tenant, maker), remove, lambda: make(tenant, maker))
    with scope(tenant.organization):
        assert not ApiKey.objects.filter(keys.is_live(), created_by=member).exists()


# --- children ---


def test_a_child_takes_over_what_it_is_not_given(tenant: Tenant) -> None:
    ends = timezone.now() + SOON
    parent = make(tenant, expires_at=ends, requests_per_minute=60, allowed_cidrs=["10.0.0.0/8"]).key
    below = child(tenant, parent).key
    assert (below.parent_id, below.expires_at, below.requests_per_minute) == (parent.pk, ends, 60)
    assert below.allowed_cidrs == ["10.0.0.0/8"]


@pytest.mark.parametrize(
    "more",
    [
        {"scopes": [*READ, KeyScope.MEMORY_WRITE.value]},
        {"expires_at": timezone.now() + LATER},
        {"requests_per_minute": 61},
        {"allowed_cidrs": ["10.0.0.0/7"]},
        {"allowed_cidrs": ["10.1.0.0/16", "0.0.0.0/0"]},
        {"allowed_cidrs": ["::/0"]},
    ],
    ids=["scopes", "expiry", "rate", "wider", "one is wider", "other version"],
)
def test_a_child_never_outranks_or_outlives_its_parent(more: dict[str, Any], tenant: Tenant) -> None:
    bounds: dict[str, Any] = {
        "expires_at": timezone.now() + SOON,
        "requests_per_minute": 60,
        "allowed_cidrs": ["10.0.0.0/8"],
    }
    parent = make(tenant, **bounds).key
    with pytest.raises(Forbidden):
        child(tenant, parent, **more)
    assert child(tenant, parent, requests_per_minute=60, allowed_cidrs=["10.1.0.0/16"]).secret


@pytest.mark.parametrize(
    ("cidr", "refusal"), [("everywhere", Invalid), ("10.0.0.1/7", Forbidden), ("10.1.2.3/16", None)]
)
def test_bounds_are_checked_as_people_write_them(cidr: str, refusal: type[Exception] | None, tenant: Tenant) -> None:
    bound = make(tenant, allowed_cidrs=["10.0.0.0/8"]).key
    with pytest.raises(refusal) if refusal else nullcontext():
        keys.check_bounds(bound, READ, expires_at=None, requests_per_minute=None, allowed_cidrs=[cidr])


def test_a_child_stays_in_its_parent_s_project(tenant: Tenant) -> None:
    with scope(tenant.organization):
        other = projects.create(actor=tenant.actor, name="Other")
    with pytest.raises(Forbidden):
        child(tenant, tenant.key, project_id=other.pk)


def test_an_ended_parent_has_no_more_children(tenant: Tenant, stranger: Tenant) -> None:
    revoked, expired = make(tenant).key, make(tenant, expires_at=timezone.now() + SOON).key
    revoke(tenant, revoked)
    with scope(tenant.organization):
        ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - SOON)
    for parent in (revoked, expired, stranger.key):
        with pytest.raises(NotFound):
            child(tenant, parent)


def test_revoking_ends_every_generation_below(tenant: Tenant) -> None:
    top = make(tenant)
    first, second = child(tenant, top.key), child(tenant, top.key)
    grandchild, beside = child(tenant, first.key), make(tenant)
    assert revoke(tenant, first.key) == 2
    assert [works(key.secret) for key in (top, first, second, grandchild, beside)] == [True, False, True, False, True]
    assert revoke(tenant, top.key) == 2
    assert [works(key.secret) for key in (top, second, beside)] == [False, False, True]
    with scope(tenant.organization):
        assert selectors.events(action=actions.KEY_REVOKED.name)[0].metadata == {"keys_revoked": 2}


@pytest.mark.parametrize(
    "ended", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now() - SOON}], ids=["revoked", "expired"]
)
def test_a_key_is_dead_under_a_dead_ancestor_however_that_came_about(
    ended: dict[str, datetime], tenant: Tenant
) -> None:
    top = make(tenant)
    grandchild = child(tenant, child(tenant, top.key).key)
    assert works(grandchild.secret)
    with scope(tenant.organization):
        ApiKey.objects.filter(pk=top.key.pk).update(**ended)
    assert not works(grandchild.secret)


# --- rotation ---


def test_both_keys_work_during_the_overlap_and_then_the_new_one_alone(tenant: Tenant) -> None:
    old = make(tenant, scopes=[*READ, "org:read"], requests_per_minute=5, allowed_cidrs=["127.0.0.0/8"])
    new = rotate(tenant, old.key, SOON)
    assert works(old.secret)
    assert works(new.secret)
    assert (new.key.scopes, new.key.requests_per_minute, new.key.allowed_cidrs, new.key.name) == (
        old.key.scopes,
        5,
        ["127.0.0.0/8"],
        old.key.name,
    )
    with scope(tenant.organization):
        stored = ApiKey.objects.get(pk=old.key.pk)
        assert stored.successor_id == new.key.pk
        assert stored.expires_at is not None
        assert abs(stored.expires_at - timezone.now() - SOON) < timedelta(minutes=1)
        ApiKey.objects.filter(pk=old.key.pk).update(expires_at=timezone.now())
        assert selectors.events(action=actions.KEY_ROTATED.name)[0].metadata["successor"] == new.key.hint
    assert [works(old.secret), works(new.secret)] == [False, True]


def test_without_an_overlap_the_old_key_ends_at_once(tenant: Tenant) -> None:
    old = make(tenant)
    new = rotate(tenant, old.key, timedelta(0))
    assert [works(old.secret), works(new.secret)] == [False, True]


def test_rotation_lengthens_no_life(tenant: Tenant) -> None:
    ends = timezone.now() + SOON
    old = make(tenant, expires_at=ends)
    assert rotate(tenant, old.key, LATER).key.expires_at == ends
    with scope(tenant.organization):
        assert ApiKey.objects.get(pk=old.key.pk).expires_at == ends


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=30, seconds=1)])
def test_an_overlap_is_up_to_thirty_days(overlap: timedelta, tenant: Tenant) -> None:
    with pytest.raises(Invalid) as refusal:
        rotate(tenant, tenant.key, overlap)
    assert refusal.value.field == "overlap"


def test_children_go_over_to_the_new_key_and_end_with_it(tenant: Tenant) -> None:
    old = make(tenant)
    below = child(tenant, old.key)
    new = rotate(tenant, old.key, timedelta(0))
    assert works(below.secret)
    assert revoke(tenant, new.key) == 2
    assert not works(below.secret)


def test_a_child_made_under_the_old_key_during_the_overlap_ends_with_it(tenant: Tenant) -> None:
    old = make(tenant)
    rotate(tenant, old.key, SOON)
    late = child(tenant, old.key)
    with scope(tenant.organization):
        assert late.key.expires_at == ApiKey.objects.get(pk=old.key.pk).expires_at


def test_only_a_living_key_is_rotated_and_only_once(tenant: Tenant, stranger: Tenant) -> None:
    old = make(tenant)
    rotate(tenant, old.key, SOON)
    with pytest.raises(Conflict):
        rotate(tenant, old.key, SOON)
    expired = make(tenant, expires_at=timezone.now() + SOON).key
    with scope(tenant.organization):
        ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    for key in (expired, stranger.key):
        with pytest.raises(NotFound):
            rotate(tenant, key, SOON)


def test_two_rotations_at_once_make_one_successor(transactional_db: None) -> None:
    tenant = make_tenant()
    results = at_once(*[lambda: rotate(tenant, tenant.key, SOON)] * 3)
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Conflict", "NewKey"]


def test_rotation_hands_nobody_a_key_that_they_could_not_make(tenant: Tenant) -> None:
    member = add_member(tenant, Role.MEMBER)
    with pytest.raises(Forbidden):
        rotate(tenant, tenant.key, SOON, by=actor(member))
    with pytest.raises(Forbidden):
        rotate(tenant, tenant.key, SOON, by=Actor("user", str(uuid4()), "nobody@example.com"))


def test_a_rotated_key_belongs_to_who_holds_its_secret(tenant: Tenant) -> None:
    member = add_member(tenant, Role.MEMBER)
    new = rotate(tenant, make(tenant).key, timedelta(0), by=actor(member))
    with scope(tenant.organization):
        members.remove(actor=tenant.actor, actor_role=Role.OWNER, user_id=member.pk)
    assert not works(new.secret)


def test_a_key_rotates_and_revokes_itself_and_what_is_below_it_alone(tenant: Tenant) -> None:
    top, beside = make(tenant), make(tenant)
    below = child(tenant, top.key)
    own = key_actor(top.key)
    for other in (beside.key, tenant.key):
        for act in (rotate, revoke):
            with pytest.raises(NotFound):
                act(tenant, other, **({"overlap": SOON} if act is rotate else {}), by=own)
    with pytest.raises(NotFound):
        revoke(tenant, top.key, by=key_actor(below.key))
    assert rotate(tenant, below.key, SOON, by=own).key.created_by_id is None
    assert revoke(tenant, top.key, by=own) == 3


def test_the_system_rotates_any_key_for_its_holder(tenant: Tenant) -> None:
    assert rotate(tenant, tenant.key, SOON, by=SYSTEM).key.created_by_id == tenant.owner.pk


def test_a_key_is_revoked_once(tenant: Tenant, stranger: Tenant) -> None:
    assert revoke(tenant, tenant.key) == 1
    for key in (tenant.key, stranger.key):
        with pytest.raises(NotFound):
            revoke(tenant, key)


BOUNDS = st.fixed_dictionaries(
    {
        "scopes": st.lists(st.sampled_from(KeyScope.values), min_size=1, unique=True),
        "expires_at": st.none() | st.timedeltas(SOON, timedelta(days=400)).map(lambda delta: timezone.now() + delta),
        "requests_per_minute": st.none() | st.integers(1, 1_000_000),
        "allowed_cidrs": st.lists(
            st.tuples(st.integers(0, 255), st.integers(0, 32)).map(lambda t: f"{t[0]}.0.0.0/{t[1]}"), max_size=2
        ),
    }
)


@given(family=st.lists(BOUNDS, min_size=2, max_size=4))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_chain_of_children_gains_anything(family: list[dict[str, Any]], tenant: Tenant) -> None:
    with scope(tenant.organization):
        Organization.objects.update(key_limit=100_000)
    above = make(tenant, **family[0]).key
    for wish in family[1:]:
        try:
            key = child(tenant, above, **wish).key
        except Forbidden:
            continue
        assert set(key.scopes) <= set(above.scopes)
        assert above.expires_at is None or (key.expires_at is not None and key.expires_at <= above.expires_at)
        assert (key.requests_per_minute or 0) <= (above.requests_per_minute or 2_000_000)
        assert above.requests_per_minute is None or key.requests_per_minute is not None
        assert not above.allowed_cidrs or key.allowed_cidrs
        above = key


def test_families_that_overlap_end_at_once_without_a_deadlock(transactional_db: None) -> None:
    tenant = make_tenant()
    top = make(tenant).key
    family = [top, *(child(tenant, top).key for _ in range(8))]

    def archive() -> None:
        with scope(tenant.organization):
            projects.archive(actor=tenant.actor, project_id=tenant.project.pk)

    results = at_once(*[lambda key=key: revoke(tenant, key) for key in family], archive)
    assert {type(result) for result in results} <= {int, NotFound, type(None)}
    with scope(tenant.organization):
        assert not ApiKey.objects.filter(keys.is_live()).exists()


def test_a_change_of_keys_does_not_hold_up_new_rows(transactional_db: None) -> None:
    tenant = make_tenant()
    with connect("superuser") as server, scope(tenant.organization):
        keys.revoke(actor=tenant.actor, key_id=tenant.key.pk)
        server.execute("SET lock_timeout = '5s'")
        with server.transaction(force_rollback=True):  # what a foreign key check takes
            server.execute("SELECT 1 FROM tenancy_organization WHERE id = %s FOR KEY SHARE", [tenant.organization.pk])
            server.execute("SELECT 1 FROM tenancy_project WHERE id = %s FOR KEY SHARE", [tenant.project.pk])


def test_the_ids_of_others_are_no_help(tenant: Tenant, stranger: Tenant) -> None:
    with scope(tenant.organization), pytest.raises(NotFound):
        keys.revoke(actor=key_actor(stranger.key), key_id=UUID(int=0))
