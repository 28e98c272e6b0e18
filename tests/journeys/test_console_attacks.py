"""The console under attack: strangers, ids of others, roles without rights, forged requests, redirects, filters."""

import json
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, reverse
from pytest_django import DjangoDbBlocker

from capsule_cloud.memory.services import sessions
from capsule_cloud.memory.services.sessions import TurnPair
from capsule_cloud.web.urls import in_organization
from tenancy.audit.models import AuditEvent
from tenancy.models import Invitation
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import invitations
from tests.capsule_cloud.memory.capsules_for_tests import memory, store
from tests.capsule_cloud.web.audit_things import make_audit_things
from tests.capsule_cloud.web.billing_things import make_billing_things
from tests.capsule_cloud.web.directory_things import make_directory_things
from tests.capsule_cloud.web.sso_things import make_sso_things
from tests.capsule_cloud.web.webhook_things import make_webhook_things
from tests.factories import PASSWORD, Tenant, add_member, make_tenant, make_user

pytestmark = pytest.mark.django_db
ONLY_READ = {"home", "projects", "project", "keys", "members", "settings"}
HARMLESS_POSTS = {"capsule_export", "member_leave"}  # a viewer may take a copy, and go


def browser_of(user: object, *, is_careful: bool = False) -> Client:
    """A signed-in browser; the careful one checks CSRF tokens as the real ones do."""
    client = Client(enforce_csrf_checks=is_careful, raise_request_exception=False)
    client.force_login(user)  # type: ignore[arg-type]
    return client


def visitor() -> Client:
    """A browser without an account, in a network of its own: attempts from one network are limited."""
    place = uuid4().hex
    return Client(raise_request_exception=False, REMOTE_ADDR=f"2001:{place[:4]}:{place[4:8]}:{place[8:12]}::1")


@dataclass(frozen=True, slots=True)
class Committed:
    """What is attacked, and by whom; made once, because each test's own transaction takes back what it did."""

    tenant: Tenant
    stranger: Tenant
    ids: dict[str, str]


@pytest.fixture(scope="module")
def committed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Committed:
    """Two organizations, for every test of this file that runs in this process."""
    with django_db_blocker.unblock():
        tenant = make_tenant()
        return Committed(tenant, make_tenant(), ids_of(tenant))


@pytest.fixture
def tenant(committed: Committed, db: None) -> Tenant:
    """The organization that is attacked."""
    return committed.tenant


@pytest.fixture
def stranger(committed: Committed, db: None) -> Tenant:
    """Another organization, which must see nothing of the first."""
    return committed.stranger


@pytest.fixture
def ids(committed: Committed, db: None) -> dict[str, str]:
    """Everything that an address of the tenant's organization can name."""
    return committed.ids


def ids_of(tenant: Tenant) -> dict[str, str]:
    """Make one of everything."""
    [capsule] = store(tenant, memory("the vault opens with 4711", user_id="dana"))
    sessions.ingest(
        organization_id=tenant.organization.pk,
        project_id=tenant.project.pk,
        session_id="danas",
        user_id="dana",
        turns=[TurnPair("Hello", "Hi")],
        actor=tenant.actor,
    )
    member = add_member(tenant, Role.MEMBER)
    with scope(tenant.organization):
        offer = invitations.create(
            actor=tenant.actor, actor_role=Role.OWNER, email=f"{uuid4().hex}@example.com", role=Role.MEMBER
        )
        event = AuditEvent.objects.latest("id")
    things = make_billing_things(tenant) | make_webhook_things(tenant) | make_audit_things(tenant)
    things |= make_sso_things(tenant) | make_directory_things(tenant)
    return things | {
        "slug": tenant.organization.slug,
        "project": tenant.project.slug,
        "key_id": str(tenant.key.pk),
        "user_id": str(member.pk),
        "invitation_id": str(offer.pk),
        "event_id": str(event.pk),
        "capsule": capsule,
        "session": "danas",
    }


def addresses(ids: dict[str, str]) -> list[tuple[str, str]]:
    """The name and the address of every page of an organization."""
    found = []
    for pattern in in_organization:
        assert isinstance(pattern, URLPattern)
        wanted = pattern.pattern.converters
        values = {name: ids[name] for name in wanted} | {"slug": ids["slug"]}
        thing = ids["session" if str(pattern.name).startswith("session") else "capsule"]
        found.append((str(pattern.name), f"{reverse(str(pattern.name), kwargs=values)}?id={thing}&user=dana"))
    assert len(found) > 30
    return found


FORM = {
    "name": "Owned",
    "domain": "mallory.com",
    "id": "danas",
    "role": "owner",
    "email": "mallory@example.com",
    "user": "dana",
    "confirmation": "dana",
    "tags": "owned",
    "is_pinned": "1",
    "new_user_id": "mallory",
    "expires_at": "2099-01-01T00:00",
    "overlap": "0",
    "is_mfa_required": "on",
    "scopes": "memory:read",
    "resolution": "ignore",
    "file_format": "json",
}


def test_a_stranger_finds_no_page_of_an_organization(tenant: Tenant, stranger: Tenant, ids: dict[str, str]) -> None:
    browser = browser_of(stranger.owner)
    with scope(tenant.organization):
        before = AuditEvent.objects.count()
    for name, address in addresses(ids):
        for answer in (browser.get(address), browser.post(address, FORM)):
            assert answer.status_code in {404, 405}, (name, answer.status_code)
            assert "4711" not in answer.content.decode()
            assert tenant.organization.name not in answer.content.decode()
    with scope(tenant.organization):
        assert AuditEvent.objects.count() == before


def test_ids_of_others_do_not_exist_in_ones_own_organization(
    tenant: Tenant, stranger: Tenant, ids: dict[str, str]
) -> None:
    browser = browser_of(stranger.owner)
    own = ids | {"slug": stranger.organization.slug}
    foreign = [(name, address) for name, address in addresses(own) if address_names_a_thing(name)]
    assert len(foreign) >= 15
    for name, address in foreign:
        answer = browser.post(address, FORM | {"id": ids["session" if name.startswith("session") else "capsule"]})
        if answer.status_code == 405:
            answer = browser.get(address)
        assert answer.status_code == 404, (name, answer.status_code)
    wanted = FORM | {"project": str(tenant.project.pk)}
    assert browser.post(reverse("key_new", kwargs={"slug": own["slug"]}), wanted).status_code == 422


def address_names_a_thing(name: str) -> bool:
    """Whether the page is about something that has an id of its own; the slug of a project is in use elsewhere too."""
    words = (
        "key_",
        "member_",
        "invitation_",
        "capsule",
        "session_",
        "audit_event",
        "sso_domain_",
        "sso_link_",
        "directory",
    )
    of_none = {"key_new", "member_invite", "member_leave", "sso_domain_new", "sso_link_new", "directory_new"}
    return (name.startswith(words) and name not in of_none) or name in {
        "session",
        "sso_domain",
        "sso_link",
        "sso_sign_in",
        "sso_provider",
        "sso_provider_guide",
    }


def written(tenant: Tenant) -> int:
    """How many events say that something was changed: not that somebody was refused, or read the log."""
    with scope(tenant.organization):
        return AuditEvent.objects.exclude(action__startswith="access.").exclude(action="audit.read").count()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.BILLING])
def test_a_role_without_the_right_writes_nothing(tenant: Tenant, ids: dict[str, str], role: Role) -> None:
    browser = browser_of(add_member(tenant, role, "Eve"))
    before = written(tenant)
    for name, address in addresses(ids):
        if name in HARMLESS_POSTS or (role is Role.BILLING and name.startswith(("billing", "usage"))):
            continue
        answer = browser.post(address, FORM)
        assert answer.status_code in {403, 405} or name in ONLY_READ, (name, answer.status_code)
        if role is Role.BILLING and name not in {"home", "settings"}:
            assert browser.get(address).status_code in {403, 405}, name
    assert written(tenant) == before


def test_a_member_gives_nobody_more_than_they_have(tenant: Tenant, ids: dict[str, str]) -> None:
    admin = browser_of(add_member(tenant, Role.ADMIN, "Alan"))
    owner, home = str(tenant.owner.pk), {"slug": ids["slug"]}
    for name, who, body in (
        ("member_role", {"user_id": ids["user_id"]}, {"role": "owner"}),
        ("member_role", {"user_id": owner}, {"role": "viewer"}),
        ("member_remove", {"user_id": owner}, {}),
        ("member_invite", {}, {"email": "m@example.com", "role": "owner"}),
        ("settings_close", {}, {"confirmation": ids["slug"]}),
    ):
        assert admin.post(reverse(name, kwargs=home | who), body).status_code in {403, 422}, name
    member = browser_of(add_member(tenant, Role.MEMBER, "Max"))
    wanted = {"name": "K", "project": str(tenant.project.pk), "scopes": "org:write"}
    assert member.post(reverse("key_new", kwargs=home), wanted).status_code == 422
    with scope(tenant.organization):
        assert not Invitation.objects.filter(role="owner").exists()


def test_every_form_needs_its_token(tenant: Tenant, ids: dict[str, str]) -> None:
    browser = browser_of(tenant.owner, is_careful=True)
    with scope(tenant.organization):
        before = AuditEvent.objects.count()
    for name, address in addresses(ids):
        assert browser.post(address, FORM).status_code == 403, name
    for address in ("/organizations/new/", "/account/logout/", "/account/email/", "/account/password/change/"):
        assert browser.post(address, FORM).status_code == 403, address
    with scope(tenant.organization):
        assert AuditEvent.objects.count() == before


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "https:evil.example", "javascript:alert(1)"],
)
def test_nobody_is_sent_elsewhere(target: str) -> None:
    user, browser = make_user(), visitor()
    answer = browser.post("/account/login/", {"login": user.email, "password": PASSWORD, "next": target})
    assert answer.status_code == 302
    assert answer["Location"] == "/"
    for address in ("/account/logout/", "/account/reauthenticate/", "/account/signup/", "/account/2fa/authenticate/"):
        location = browser.post(f"{address}?next={target}", {"password": PASSWORD, "next": target}).get("Location", "")
        assert re.match(r"(/\w|/?$)", location), location


DIGITS = "9" * 5_000
FILTERS = [
    f"memory/?page={DIGITS}",
    "memory/?page=-1",
    "memory/?page=%C2%B2",
    "memory/?q=%00&user=%00&type=%00&tag=%00",
    "memory/?q=%FF&user=%FF&type=nope&tag=" + "x" * 300,
    "memory/?q=" + "word+" * 3_000,
    "memory/?project=%00",
    "memory/nope/?id=x",
    "memory/default/?id=%00",
    "memory/default/?id=%FF",
    "memory/default/compare/?id=%00&id=%FF",
    "memory/default/merge/?" + "&".join(f"id={number}" for number in range(2_000)),
    f"sessions/default/?id=danas&after={DIGITS}",
    "sessions/default/?id=danas&after=%C2%B2",
    "sessions/?after=x",
    "sessions/?after=ffffffff-ffff-ffff-ffff-ffffffffffff",
    "sessions/?state=nope&user=%FF&q=%00",
    "sessions/default/?id=%00",
    "audit/?since=9999-12-31&until=9999-12-31",
    "audit/?since=0001-01-01&until=0001-01-01",
    "audit/?since=x&until=99999-01-01",
    "audit/?before=x",
    "audit/?before=ffffffff-ffff-ffff-ffff-ffffffffffff",
    "audit/?action=%25&actor=%25&target=%5C",
    "audit/ffffffff-ffff-ffff-ffff-ffffffffffff/",
    "audit/00000000-0000-0000-0000-000000000000/",
    "keys/?project=nope&ended=2",
    "keys/ffffffff-ffff-ffff-ffff-ffffffffffff/",
    "?project=%00",
]


@pytest.mark.parametrize("path", FILTERS, ids=lambda path: path[:40])
def test_no_filter_upsets_the_server(tenant: Tenant, ids: dict[str, str], path: str) -> None:
    answer = browser_of(tenant.owner).get(f"/o/{ids['slug']}/{path}")
    assert answer.status_code in {200, 400, 404}


@pytest.mark.parametrize("value", ["\x00", "x" * 100_000, "\ud7ff\uffff", "'\"<>&;--", DIGITS, "-1", "ﬀ"])
def test_no_form_value_upsets_the_server(tenant: Tenant, ids: dict[str, str], value: str) -> None:
    browser = browser_of(tenant.owner)
    for name, address in addresses(ids):
        if name in {"settings_close", "settings_security", "member_leave", "project_archive"} or "remove" in name:
            continue
        answer = browser.post(address.split("?", 1)[0], dict.fromkeys([*FORM, "project", "event", "expires_in"], value))
        assert answer.status_code < 500, name


def test_headers_keep_pages_from_being_framed_sniffed_and_scripted(tenant: Tenant, ids: dict[str, str]) -> None:
    browser = browser_of(tenant.owner)
    for address in ("/", f"/o/{ids['slug']}/", "/account/", "/nope/", "/outbox/"):
        headers = browser.get(address).headers
        assert headers["X-Frame-Options"] == "DENY", address
        assert headers["X-Content-Type-Options"] == "nosniff", address
        assert headers["Referrer-Policy"] == "same-origin", address
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], address
        assert "unsafe" not in headers["Content-Security-Policy"], address
    cookies = browser.cookies
    assert cookies["capsule_session"]["httponly"]
    assert cookies["capsule_session"]["samesite"] == "Lax"


def test_an_endless_upload_is_refused_before_it_is_read(tenant: Tenant, ids: dict[str, str]) -> None:
    def read(size: int = -1) -> bytes:
        raise AssertionError("The upload was read.")

    for browser in (browser_of(tenant.owner, is_careful=True), Client(enforce_csrf_checks=True)):
        for address in (f"/o/{ids['slug']}/memory/default/import/", "/account/login/", "/nope/"):
            stream = SimpleNamespace(read=read, readline=read)
            body: dict[str, Any] = {"wsgi.input": stream, "CONTENT_LENGTH": str(2**40)}
            answer = browser.generic("POST", address, content_type="multipart/form-data; boundary=x", **body)
            assert answer.status_code == 400
            assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]


SHAPE = {"id": "eA", "rawId": "eA", "type": "public-key"}
RESPONSES: list[Any] = [
    7,
    [],
    {"authenticatorData": 1, "userHandle": 1},
    dict.fromkeys(("authenticatorData", "signature", "clientDataJSON"), "eA"),
]
NO_PASSKEYS = ["9", '"x"', "[1]", "{", '{"id": 1}', '{"id": "x", "rawId": "x", "response": {}}']
NO_PASSKEYS += [json.dumps(SHAPE | {"response": response}) for response in RESPONSES]


@pytest.mark.parametrize("credential", NO_PASSKEYS)
def test_what_is_no_passkey_lets_nobody_in_and_breaks_nothing(credential: str) -> None:
    address = "/account/2fa/webauthn/login/"
    browser = visitor()
    browser.get(address)
    answer = browser.post(address, {"credential": credential})
    assert answer.status_code in {200, 302, 400}
    assert "_auth_user_id" not in browser.session
