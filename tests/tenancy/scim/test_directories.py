"""Directories and their tokens: added, changed, rotated, revoked, removed; who is asking, and who is not."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Forbidden, Invalid, LimitReached, NotFound
from tenancy.key_format import DIRECTORY_PREFIX, is_well_formed, new_secret
from tenancy.models import Organization
from tenancy.roles import Role
from tenancy.scim.directories import selectors, services, tokens
from tenancy.scim.directories.tokens import InvalidToken
from tenancy.scim.models import Directory, DirectoryToken
from tenancy.scope import scope
from tests.factories import Tenant, add_member
from tests.tenancy.scim.directory_things import brought, connected, group


def told(tenant: Tenant) -> list[str]:
    """What the trail says of directories, the newest first."""
    with scope(tenant.organization):
        return list(
            AuditEvent.objects.filter(action__startswith="scim.").order_by("-id").values_list("action", flat=True)
        )


def changed(tenant: Tenant, directory: Directory, role: Role = Role.OWNER, **more: Any) -> Directory:
    """The directory with other settings, by somebody with this role."""
    wanted = {"name": "Okta", "kind": "okta", "default_role": "viewer", "keys_go_to": None, "is_on": True} | more
    with scope(tenant.organization):
        return services.change(actor=tenant.actor, actor_role=role, directory_id=directory.pk, **wanted)


def test_a_directory_is_known_by_its_token_which_is_kept_as_a_hash_alone(tenant: Tenant) -> None:
    directory, who, secret = connected(tenant)
    assert (who.directory_id, who.organization_id, who.kind) == (directory.pk, tenant.organization.pk, "okta")
    assert is_well_formed(secret, DIRECTORY_PREFIX)
    assert secret.startswith("cms_")
    assert who.actor.label == f"Okta ({secret[:10]}…)"
    with scope(tenant.organization):
        row = DirectoryToken.objects.get(directory=directory)
        events = AuditEvent.objects.filter(action__startswith="scim.")
        assert secret not in f"{row.__dict__}{[one.body for one in events]}"
    assert told(tenant) == [actions.DIRECTORY_TOKEN_CREATED.name, actions.DIRECTORY_ADDED.name]


@pytest.mark.parametrize("scheme", ["Basic {}", "{}", "Bearer", "Bearer {}x", "Bearer x{}"])
def test_what_is_no_token_of_ours_opens_nothing(tenant: Tenant, scheme: str) -> None:
    secret = connected(tenant)[2]
    with pytest.raises(InvalidToken):
        tokens.authenticate(scheme.format(secret))


def test_an_api_key_is_no_token_and_a_stranger_s_look_alike_neither(tenant: Tenant) -> None:
    for secret in (tenant.secret, new_secret(DIRECTORY_PREFIX)):
        with pytest.raises(InvalidToken):
            tokens.authenticate(f"Bearer {secret}")


def test_a_token_that_is_over_opens_nothing_from_that_moment_on(tenant: Tenant) -> None:
    directory, who, secret = connected(tenant)

    def is_open() -> bool:
        try:
            return tokens.authenticate(f"bearer  {secret} ").token_id == who.token_id
        except InvalidToken:
            return False

    def set_row(model: Any, pk: UUID, **values: Any) -> None:
        with scope(tenant.organization):
            model.objects.filter(pk=pk).update(**values)

    for model, pk, bad, good in (
        (DirectoryToken, who.token_id, {"expires_at": timezone.now()}, {"expires_at": None}),
        (DirectoryToken, who.token_id, {"revoked_at": timezone.now()}, {"revoked_at": None}),
        (Directory, directory.pk, {"is_on": False}, {"is_on": True}),
        (Organization, tenant.organization.pk, {"closed_at": timezone.now()}, {"closed_at": None}),
    ):
        assert is_open()
        set_row(model, pk, **bad)
        assert not is_open(), bad
        set_row(model, pk, **good)


def test_that_a_token_is_used_is_noted_once_a_minute(tenant: Tenant) -> None:
    directory, _, secret = connected(tenant)
    with CaptureQueriesContext(connection) as queries:
        tokens.authenticate(f"Bearer {secret}")
    assert not [one for one in queries if "UPDATE" in one["sql"]]
    with scope(tenant.organization):
        DirectoryToken.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
        Directory.objects.update(last_request_at=None)
    tokens.authenticate(f"Bearer {secret}")
    with scope(tenant.organization):
        assert selectors.tokens(directory.pk)[0].last_used_at > timezone.now() - timedelta(minutes=1)  # type: ignore[operator]
        assert selectors.directory(directory.pk).last_request_at is not None


def test_a_rotated_token_works_beside_its_successor_for_the_overlap(tenant: Tenant) -> None:
    directory, who, secret = connected(tenant)
    with scope(tenant.organization):
        made = services.rotate_token(
            actor=tenant.actor, directory_id=directory.pk, token_id=who.token_id, overlap=timedelta(days=1)
        )
    assert tokens.authenticate(f"Bearer {secret}").token_id == who.token_id
    assert tokens.authenticate(f"Bearer {made.secret}").token_id == made.token.pk
    with scope(tenant.organization):
        again = services.rotate_token(
            actor=tenant.actor, directory_id=directory.pk, token_id=who.token_id, overlap=timedelta(0)
        )
    with pytest.raises(InvalidToken):
        tokens.authenticate(f"Bearer {secret}")
    assert tokens.authenticate(f"Bearer {again.secret}").token_id == again.token.pk
    assert told(tenant)[:2] == [actions.DIRECTORY_TOKEN_ROTATED.name] * 2


def test_rotating_never_makes_a_token_live_longer(tenant: Tenant) -> None:
    directory = connected(tenant)[0]
    soon = timezone.now() + timedelta(hours=1)
    with scope(tenant.organization):
        made = services.add_token(actor=tenant.actor, directory_id=directory.pk, expires_at=soon)
        services.rotate_token(
            actor=tenant.actor, directory_id=directory.pk, token_id=made.token.pk, overlap=timedelta(days=30)
        )
        assert DirectoryToken.objects.get(pk=made.token.pk).expires_at == soon


def test_a_revoked_token_is_gone_and_cannot_be_revoked_twice(tenant: Tenant) -> None:
    directory, who, secret = connected(tenant)
    with scope(tenant.organization):
        services.revoke_token(actor=tenant.actor, directory_id=directory.pk, token_id=who.token_id)
    with pytest.raises(InvalidToken):
        tokens.authenticate(f"Bearer {secret}")
    with scope(tenant.organization), pytest.raises(NotFound):
        services.revoke_token(actor=tenant.actor, directory_id=directory.pk, token_id=who.token_id)
    assert told(tenant)[0] == actions.DIRECTORY_TOKEN_REVOKED.name


def test_limits_hold_and_say_what_to_do(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MOST_DIRECTORIES", 1)
    monkeypatch.setattr(services, "MOST_TOKENS", 1)
    directory, who, _ = connected(tenant)
    with scope(tenant.organization):
        with pytest.raises(LimitReached, match="remove one first"):
            services.add(actor=tenant.actor, actor_role=Role.OWNER, name="Entra", kind="entra")
        with pytest.raises(LimitReached, match="revoke one first"):
            services.add_token(actor=tenant.actor, directory_id=directory.pk)
        with pytest.raises(Invalid, match="future"):
            services.add_token(actor=tenant.actor, directory_id=directory.pk, expires_at=timezone.now())
        with pytest.raises(Invalid, match="30 days"):
            services.rotate_token(
                actor=tenant.actor, directory_id=directory.pk, token_id=who.token_id, overlap=timedelta(days=31)
            )


def test_settings_change_and_the_trail_says_from_what_to_what(tenant: Tenant) -> None:
    directory = connected(tenant)[0]
    bob = add_member(tenant, Role.ADMIN)
    changed(tenant, directory, name="Entra", kind="entra", default_role="member", keys_go_to=bob.pk, is_on=False)
    changed(tenant, directory, name="Entra", kind="entra", default_role="member", keys_go_to=bob.pk, is_on=False)
    with scope(tenant.organization):
        kept = selectors.directory(directory.pk)
        [event] = AuditEvent.objects.filter(action=actions.DIRECTORY_CHANGED.name)
    assert (kept.name, kept.kind, kept.default_role, kept.keys_go_to, kept.is_on) == (
        *("Entra", "entra", "member"),
        bob,
        False,
    )
    assert event.changes == {
        "name": ["Okta", "Entra"],
        "kind": ["okta", "entra"],
        "default_role": ["viewer", "member"],
        "keys_go_to": [None, str(bob.pk)],
        "is_on": [True, False],
    }


@pytest.mark.parametrize(
    ("more", "failure"),
    [
        ({"kind": "ldap"}, Invalid),
        ({"default_role": "king"}, Invalid),
        ({"keys_go_to": UUID(int=7)}, Invalid),
        ({"name": " "}, Invalid),
        ({"default_role": "owner", "role": Role.ADMIN}, Forbidden),
    ],
)
def test_what_cannot_be_is_refused(tenant: Tenant, more: dict[str, Any], failure: type[Exception]) -> None:
    directory = connected(tenant)[0]
    with pytest.raises(failure):
        changed(tenant, directory, **more)


def test_a_removed_directory_takes_its_tokens_with_it(tenant: Tenant) -> None:
    directory, _, secret = connected(tenant)
    with scope(tenant.organization):
        group(directory, "Staff", brought(directory, "ada@acme.example"))
        services.remove(actor=tenant.actor, directory_id=directory.pk)
        assert selectors.directories() == []
        with pytest.raises(NotFound):
            selectors.directory(directory.pk)
    with pytest.raises(InvalidToken):
        tokens.authenticate(f"Bearer {secret}")
    assert told(tenant)[0] == actions.DIRECTORY_REMOVED.name


def test_a_stranger_reaches_no_directory_of_another(tenant: Tenant, stranger: Tenant) -> None:
    directory, who, _ = connected(tenant)
    with scope(stranger.organization):
        found = [selectors.directories(), selectors.tokens(directory.pk), selectors.users(directory.pk, limit=9)]
        assert found == [[], [], []]
        for act in (
            lambda: selectors.directory(directory.pk),
            lambda: services.remove(actor=stranger.actor, directory_id=directory.pk),
            lambda: services.add_token(actor=stranger.actor, directory_id=directory.pk),
            lambda: services.revoke_token(actor=stranger.actor, directory_id=directory.pk, token_id=who.token_id),
            lambda: selectors.exchange(directory.pk, uuid4()),
        ):
            with pytest.raises(NotFound):
                act()


def test_users_are_found_by_name_and_address_page_by_page(tenant: Tenant) -> None:
    directory = connected(tenant)[0]
    with scope(tenant.organization):
        ada, bob, eve = (brought(directory, f"{name}@acme.example") for name in ("ada", "bob", "eve"))
        assert selectors.users(directory.pk, limit=2) == [ada, bob]
        assert selectors.users(directory.pk, after=bob.pk, limit=2) == [eve]
        assert selectors.users(directory.pk, text="BOB@", limit=2) == [bob]
        group(directory, "Staff", ada, bob)
        counts = selectors.counted(directory.pk)
        assert (counts.users, counts.active, counts.groups) == (3, 3, 1)
