"""API keys in the console: shown once, rotated, revoked."""

import re
from datetime import timedelta

from django.test import Client
from django.utils import timezone

from tenancy.access import InvalidKey, authenticate_key, reset_key_cache
from tenancy.models import ApiKey
from tenancy.roles import Role
from tenancy.scope import scope
from tests.capsule_cloud.web.conftest import SignIn
from tests.factories import Tenant, add_member, make_tenant

SECRET = re.compile(r"cmk_[0-9A-Za-z]{38}")


def _create(browser: Client, home: str, tenant: Tenant, **more: object) -> str:
    wanted = {"name": "Server", "project": str(tenant.project.pk), "scopes": ["memory:read"]} | more
    answer = browser.post(home + "keys/new/", wanted)
    assert answer.status_code == 302, answer.content.decode()
    return str(answer["Location"])


def test_a_new_key_is_shown_once_and_works(tenant: Tenant, owner: Client, home: str) -> None:
    address = _create(owner, home, tenant)
    first = owner.get(address).content.decode()
    [secret] = set(SECRET.findall(first))
    assert authenticate_key(f"Bearer {secret}", "127.0.0.1").name == "Server"
    second = owner.get(address).content.decode()
    assert not SECRET.findall(second)
    assert "shown already" in second


def test_the_secret_is_nowhere_but_on_that_page(tenant: Tenant, owner: Client, home: str) -> None:
    address = _create(owner, home, tenant)
    stored = str(dict(owner.session))
    [secret] = set(SECRET.findall(owner.get(address).content.decode()))
    assert secret not in stored
    assert secret not in address
    assert not SECRET.findall(owner.get(home + "keys/").content.decode())
    assert not SECRET.findall(owner.get(home + "audit/").content.decode())


def test_limits_of_a_key_are_kept(tenant: Tenant, owner: Client, home: str) -> None:
    _create(owner, home, tenant, expires_in="30", requests_per_minute="60", allowed_cidrs="203.0.113.7/24\n")
    with scope(tenant.organization):
        key = ApiKey.objects.get(name="Server")
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)
    assert key.requests_per_minute == 60
    assert key.allowed_cidrs == ["203.0.113.0/24"]


def test_a_wrong_address_range_is_an_error_beside_its_field(tenant: Tenant, owner: Client, home: str) -> None:
    wanted = {"name": "x", "project": str(tenant.project.pk), "scopes": ["memory:read"], "allowed_cidrs": "everywhere"}
    answer = owner.post(home + "keys/new/", wanted)
    assert answer.status_code == 422
    assert 'id="id_allowed_cidrs_error"' in answer.content.decode()


def test_a_member_is_offered_only_the_scopes_of_their_role(tenant: Tenant, sign_in: SignIn, home: str) -> None:
    browser = sign_in(add_member(tenant, Role.MEMBER, "Max"))
    text = browser.get(home + "keys/new/").content.decode()
    assert "memory:write" in text
    assert "org:write" not in text
    wanted = {"name": "x", "project": str(tenant.project.pk), "scopes": ["org:write"]}
    assert browser.post(home + "keys/new/", wanted).status_code == 422


def test_a_key_cannot_be_made_for_another_organizations_project(
    tenant: Tenant, stranger: Tenant, owner: Client, home: str
) -> None:
    wanted = {"name": "x", "project": str(stranger.project.pk), "scopes": ["memory:read"]}
    assert owner.post(home + "keys/new/", wanted).status_code == 422


def test_rotation_shows_a_new_key_while_the_old_one_goes_on(tenant: Tenant, owner: Client, home: str) -> None:
    answer = owner.post(f"{home}keys/{tenant.key.pk}/rotate/", {"overlap": "3600"}, follow=True)
    [secret] = set(SECRET.findall(answer.content.decode()))
    assert secret != tenant.secret
    reset_key_cache()
    for one in (secret, tenant.secret):
        assert authenticate_key(f"Bearer {one}", "127.0.0.1").project_id == tenant.project.pk
    assert "being replaced" in owner.get(home + "keys/").content.decode()


def test_a_revoked_key_stops_and_leaves_the_list(tenant: Tenant, owner: Client, home: str) -> None:
    owner.post(f"{home}keys/{tenant.key.pk}/revoke/")
    reset_key_cache()
    try:
        authenticate_key(f"Bearer {tenant.secret}", "127.0.0.1")
    except InvalidKey:
        pass
    else:
        raise AssertionError("The revoked key still works.")
    assert tenant.key.hint not in owner.get(home + "keys/").content.decode()
    assert "revoked" in owner.get(home + "keys/?ended=1").content.decode()


def test_keys_of_another_organization_cannot_be_reached(tenant: Tenant, owner: Client, home: str) -> None:
    other = make_tenant()
    for action in ("", "rotate/", "revoke/"):
        assert owner.get(f"{home}keys/{other.key.pk}/{action}").status_code == 404
    assert owner.post(f"{home}keys/{other.key.pk}/revoke/").status_code == 404
    assert authenticate_key(f"Bearer {other.secret}", "127.0.0.1").key_id == other.key.pk


def test_the_list_can_be_narrowed_to_one_project(tenant: Tenant, owner: Client, home: str) -> None:
    owner.post(home + "projects/new/", {"name": "Empty"})
    assert tenant.key.hint in owner.get(home + "keys/?project=default").content.decode()
    assert tenant.key.hint not in owner.get(home + "keys/?project=empty").content.decode()
    assert owner.get(home + "keys/?project=nothing").status_code == 404
