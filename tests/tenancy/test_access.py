"""Who is asking: API keys for programs, memberships for people."""

import ipaddress
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capsule_cloud.lib import crypto
from tenancy import access, key_format
from tenancy.models import ApiKey, Membership, Organization
from tenancy.roles import KeyScope, Right, Role
from tenancy.scope import scope
from tenancy.services import keys
from tests.factories import Tenant, add_member, make_tenant
from tests.forks import Fork
from tests.raw import connect


def ask(secret: str, ip: str = "127.0.0.1") -> access.KeyPrincipal:
    """Authenticate without the cache."""
    access.reset_key_cache()
    return access.authenticate_key(f"Bearer {secret}", ip)


def test_a_key_says_who_it_is_and_what_it_may_do(tenant: Tenant) -> None:
    with scope(tenant.organization):
        ApiKey.objects.update(scopes=[KeyScope.MEMORY_READ], requests_per_minute=7)
        Organization.objects.update(requests_per_minute=11)
    principal = ask(tenant.secret)
    assert (principal.key_id, principal.organization_id) == (tenant.key.pk, tenant.organization.pk)
    assert (principal.project_id, principal.project_slug) == (tenant.project.pk, "default")
    assert (principal.key_requests_per_minute, principal.organization_requests_per_minute) == (7, 11)
    assert principal.has(Right.MEMORY_READ)
    assert not principal.has(Right.MEMORY_WRITE)
    assert principal.actor.kind == "api_key"
    assert tenant.secret not in principal.actor.label


def test_a_key_brings_its_organization_s_plan_in_the_same_query(tenant: Tenant) -> None:
    free = ask(tenant.secret)
    assert (free.operation_limit, free.access, sorted(free.features)) == (25_000, "full", ["mcp"])
    begin, end = datetime(2026, 11, 3, tzinfo=UTC), datetime(2026, 12, 3, tzinfo=UTC)
    with scope(tenant.organization):
        Organization.objects.update(
            operation_limit=None,
            stored_byte_limit=5 * 10**12,
            document_limit=0,
            end_user_limit=7,
            features=["mcp", "data_planes"],
            access=Organization.Access.READ_ONLY,
            period_start=begin,
            period_end=end,
        )
    access.reset_key_cache()
    with CaptureQueriesContext(connection) as queries:
        paid = access.authenticate_key(f"Bearer {tenant.secret}", "127.0.0.1")
    assert len(queries) == 1
    assert (paid.operation_limit, paid.stored_byte_limit, paid.document_limit) == (None, 5 * 10**12, 0)
    assert (paid.end_user_limit, sorted(paid.features), paid.access) == (7, ["data_planes", "mcp"], "read_only")
    assert (paid.period_start, paid.period_end) == (begin, end)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic {}", "Token {}", "{}", "Bearer {}x", "Bearer {} {}"]
)
def test_only_a_bearer_header_with_a_whole_key_lets_in(header: str, tenant: Tenant) -> None:
    with pytest.raises(access.InvalidKey):
        access.authenticate_key(header.format(tenant.secret, tenant.secret), "127.0.0.1")


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
def test_the_scheme_s_spelling_does_not_matter(scheme: str, tenant: Tenant) -> None:
    assert access.authenticate_key(f"{scheme} {tenant.secret} ", "127.0.0.1").key_id == tenant.key.pk


@given(place=st.integers(0, 41), letter=st.sampled_from(key_format.ALPHABET))
@settings(max_examples=100, deadline=None)
def test_one_wrong_letter_is_told_by_the_checksum(place: int, letter: str) -> None:
    secret = key_format.new_secret()
    changed = secret[:place] + letter + secret[place + 1 :]
    assert key_format.is_well_formed(changed) == (changed == secret)


@given(text=st.text(max_size=50, alphabet=st.characters()) | st.text(min_size=38, max_size=38).map("cmk_{}".format))
@settings(max_examples=200, deadline=None)
def test_any_text_is_judged_without_an_error(text: str) -> None:
    assert not key_format.is_well_formed(text)


def test_a_checksum_over_foreign_letters_makes_no_key(db: None) -> None:
    with pytest.raises(access.InvalidKey):
        access.authenticate_key("Bearer cmk_" + "\udcff" * 32 + "000000", "127.0.0.1")


def test_malformed_keys_cost_no_query(db: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0), pytest.raises(access.InvalidKey):
        access.authenticate_key("Bearer cmk_" + "0" * 38, "127.0.0.1")


@pytest.mark.django_db
def test_a_well_formed_key_that_nobody_made_is_unknown() -> None:
    with pytest.raises(access.InvalidKey):
        ask(key_format.new_secret())


@pytest.mark.parametrize(
    "fields",
    [{"revoked_at": timezone.now()}, {"expires_at": timezone.now() - timedelta(seconds=1)}],
    ids=["revoked", "expired"],
)
def test_an_ended_key_lets_nobody_in(fields: dict[str, Any], tenant: Tenant) -> None:
    with scope(tenant.organization):
        ApiKey.objects.update(**fields)
    with pytest.raises(access.InvalidKey):
        ask(tenant.secret)


def test_a_cached_key_ends_at_its_expiry_to_the_moment(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    with scope(tenant.organization):
        ApiKey.objects.update(expires_at=timezone.now() + timedelta(milliseconds=400))
    principal = ask(tenant.secret)
    assert principal.expires_at is not None
    monkeypatch.setattr(access, "CACHE_SECONDS", 60)
    access.reset_key_cache()
    access.authenticate_key(f"Bearer {tenant.secret}", "127.0.0.1")
    while timezone.now() <= principal.expires_at:
        pass
    with pytest.raises(access.InvalidKey):
        access.authenticate_key(f"Bearer {tenant.secret}", "127.0.0.1")


def test_requests_in_quick_succession_cost_one_query(tenant: Tenant, django_assert_num_queries: Any) -> None:
    ask(tenant.secret)
    with django_assert_num_queries(0):
        access.authenticate_key(f"Bearer {tenant.secret}", "127.0.0.1")


def test_while_one_thread_reads_a_key_again_the_others_do_not(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    ask(tenant.secret)
    monkeypatch.setattr(access, "CACHE_SECONDS", 0)
    monkeypatch.setattr(access, "STALE_SECONDS", 60)
    monkeypatch.setattr(access, "_being_read", {crypto.keyed_hash(tenant.secret.encode())})
    with django_assert_num_queries(0):
        access.authenticate_key(f"Bearer {tenant.secret}", "127.0.0.1")


def test_a_reading_that_takes_too_long_is_not_waited_for(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    ask(tenant.secret)
    monkeypatch.setattr(access, "CACHE_SECONDS", 0)
    monkeypatch.setattr(access, "STALE_SECONDS", 0)
    monkeypatch.setattr(access, "_being_read", {crypto.keyed_hash(tenant.secret.encode())})
    with django_assert_num_queries(1):
        access.authenticate_key(f"Bearer {tenant.secret}", "127.0.0.1")


def test_the_cache_does_not_grow_without_end(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "CACHE_SIZE", 3)
    for _ in range(5):
        with pytest.raises(access.InvalidKey):
            access.authenticate_key(f"Bearer {key_format.new_secret()}", "127.0.0.1")
    assert len(access._cache) <= 3


WATCHER = """
import sys, time
from tenancy import access
header = f"Bearer {sys.argv[1]}"
access.authenticate_key(header, "127.0.0.1")
print("in", flush=True)
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    try:
        access.authenticate_key(header, "127.0.0.1")
    except access.InvalidKey:
        print(time.monotonic(), flush=True)
        break
"""


@pytest.mark.parametrize("how", ["revoke", "remove the row's parent", "close"])
def test_revocation_is_effective_in_another_process_within_a_second(how: str, transactional_db: None) -> None:
    tenant = make_tenant()
    with scope(tenant.organization):
        parent = keys.Maker(tenant.principal.actor, parent_id=tenant.key.pk)
        below = keys.create(maker=parent, project_id=tenant.project.pk, name="below", scopes=[KeyScope.MEMORY_READ])
    secret = below.secret if how == "remove the row's parent" else tenant.secret
    with Fork(WATCHER, secret) as process:
        assert process.line() == "in\n"
        with scope(tenant.organization):
            if how == "close":
                Organization.objects.update(closed_at=timezone.now())
            else:
                keys.revoke(actor=tenant.actor, key_id=tenant.key.pk)
        revoked_at = time.monotonic()
        assert float(process.line()) - revoked_at < 1
        assert process.wait() == 0


def test_the_last_use_is_noted_once_a_minute(tenant: Tenant) -> None:
    ask(tenant.secret)
    with scope(tenant.organization):
        first = ApiKey.objects.get().last_used_at
        assert first is not None
    ask(tenant.secret)
    with scope(tenant.organization):
        assert ApiKey.objects.get().last_used_at == first
        ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    ask(tenant.secret)
    with scope(tenant.organization):
        assert ApiKey.objects.get().last_used_at == first  # one transaction has one now()


def test_a_key_that_is_refused_leaves_no_last_use(tenant: Tenant) -> None:
    with scope(tenant.organization):
        ApiKey.objects.update(revoked_at=timezone.now())
    with pytest.raises(access.InvalidKey):
        ask(tenant.secret)
    with scope(tenant.organization):
        assert ApiKey.objects.get().last_used_at is None


def test_a_request_does_not_wait_for_whoever_changes_the_key(transactional_db: None) -> None:
    tenant = make_tenant()
    with connect("superuser") as server, server.transaction():
        server.execute("SELECT 1 FROM tenancy_apikey WHERE id = %s FOR UPDATE", [tenant.key.pk])
        assert ask(tenant.secret).key_id == tenant.key.pk


@pytest.mark.parametrize(
    ("cidrs", "ip", "is_welcome"),
    [
        ([], "203.0.113.7", True),
        (["203.0.113.0/24"], "203.0.113.7", True),
        (["203.0.113.0/24"], "203.0.114.7", False),
        (["203.0.113.7"], "203.0.113.7", True),
        (["10.0.0.0/8", "2001:db8::/32"], "2001:db8:1::5", True),
        (["10.0.0.0/8", "2001:db8::/32"], "2001:db9::5", False),
        (["203.0.113.0/24"], "::ffff:203.0.113.7", True),
        (["::ffff:203.0.113.0/120"], "::ffff:203.0.113.7", True),
        (["203.0.113.0/24"], "::ffff:203.0.114.7", False),
        (["203.0.113.0/24"], "", False),
        (["203.0.113.0/24"], "unknown", False),
        (["0.0.0.0/0"], "::1", False),
    ],
)
def test_an_allow_list_is_of_addresses_of_both_kinds(
    cidrs: list[str], ip: str, is_welcome: bool, tenant: Tenant
) -> None:
    with scope(tenant.organization):
        maker = keys.Maker(tenant.actor, user=tenant.owner, role=Role.OWNER)
        made = keys.create(
            maker=maker, project_id=tenant.project.pk, name="k", scopes=["memory:read"], allowed_cidrs=cidrs
        )
    if is_welcome:
        assert ask(made.secret, ip).key_id == made.key.pk
    else:
        with pytest.raises(access.ForbiddenAddress):
            ask(made.secret, ip)


@given(address=st.ip_addresses(), prefix=st.integers(0, 32))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_an_address_is_inside_its_own_network_in_either_form(address: Any, prefix: int) -> None:
    network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    assert access._is_within(str(address), (network,))
    if address.version == 4:
        assert access._is_within(f"::ffff:{address}", (network,))


def test_a_person_sees_every_organization_they_belong_to_by_name(tenant: Tenant, stranger: Tenant) -> None:
    with scope(tenant.organization):
        Organization.objects.update(name="B", is_mfa_required=True)
    with scope(stranger.organization):
        Organization.objects.update(name="A")
    user = add_member(tenant, Role.VIEWER)
    with scope(stranger.organization):
        Membership.objects.create(user=user, role=Role.ADMIN)
    first, second = access.memberships(user)
    assert (first.name, first.role, first.is_mfa_required) == ("A", Role.ADMIN, False)
    assert (second.organization_id, second.role) == (tenant.organization.pk, Role.VIEWER)
    assert second.has(Right.MEMORY_READ)
    assert not second.has(Right.MEMORY_WRITE)
    assert second.actor.label == user.email
    assert access.lacks_required_mfa(user, second)
    assert not access.lacks_required_mfa(user, first)
