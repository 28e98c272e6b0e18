"""The one table of rights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.roles import DEFAULT_SCOPES, RIGHTS, SCOPE_RIGHTS, KeyScope, Right, Role, may_grant, scopes_within

READS = {right for right in Right if right.endswith(":read")}


def test_every_role_and_scope_is_in_the_table() -> None:
    assert set(RIGHTS) == set(Role)
    assert set(SCOPE_RIGHTS) == set(KeyScope)
    assert all(SCOPE_RIGHTS.values())


def test_the_owner_may_do_everything_and_each_rank_more_than_the_next() -> None:
    assert RIGHTS[Role.OWNER] == set(Right)
    assert RIGHTS[Role.VIEWER] < RIGHTS[Role.MEMBER] < RIGHTS[Role.ADMIN] < RIGHTS[Role.OWNER]


def test_a_viewer_changes_nothing() -> None:
    assert RIGHTS[Role.VIEWER] <= READS


def test_billing_sees_no_memory_and_touches_no_key() -> None:
    assert not {right for right in RIGHTS[Role.BILLING] if right.startswith(("memory", "keys", "audit", "members"))}


def test_only_an_owner_closes_the_organization_and_no_key_ever_does() -> None:
    assert [role for role in Role if Right.ORGANIZATION_CLOSE in RIGHTS[role]] == [Role.OWNER]
    carried = set().union(*SCOPE_RIGHTS.values())
    assert Right.ORGANIZATION_CLOSE not in carried


def test_no_two_scopes_carry_the_same_right() -> None:
    assert sum(map(len, SCOPE_RIGHTS.values())) == len(set().union(*SCOPE_RIGHTS.values()))


def test_the_default_scopes_delete_nothing() -> None:
    assert Right.MEMORY_DELETE not in set().union(*(SCOPE_RIGHTS[scope] for scope in DEFAULT_SCOPES))


@pytest.mark.parametrize("role", Role)
def test_who_may_grant(role: Role) -> None:
    granted = {other for other in Role if may_grant(role, other)}
    expected = {Role.OWNER: set(Role), Role.ADMIN: set(Role) - {Role.OWNER}}
    assert granted == expected.get(role, set())


@given(
    role=st.sampled_from(Role),
    scopes=st.lists(st.sampled_from(KeyScope.values)),
    extra=st.sampled_from(KeyScope.values),
)
def test_a_key_is_within_a_role_when_each_of_its_rights_is(role: Role, scopes: list[str], extra: str) -> None:
    rights = set().union(*(SCOPE_RIGHTS[KeyScope(scope)] for scope in scopes))
    assert scopes_within(RIGHTS[role], scopes) == (rights <= RIGHTS[role])
    if not scopes_within(RIGHTS[role], scopes):
        assert not scopes_within(RIGHTS[role], [*scopes, extra])
