"""Every URL has a row in the access table, and keeps what the row says. A new URL without one fails here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from pytest_django import DjangoDbBlocker

from capsule_cloud.api.resource import Resource
from tenancy import access
from tenancy.audit.models import AuditEvent
from tenancy.models import Membership, Organization, User
from tenancy.roles import RIGHTS, KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys, project_roles
from tests.architecture.access_table import (
    API,
    BEFORE_SIGN_IN,
    CONSOLE,
    GUESTS,
    PERSONAL,
    PUBLIC,
    SCIM,
    SCIM_TELLS_EVERYBODY,
    SECRET_LINKS,
    SIGN_ON,
    SIGNED,
    STAFF,
    ApiRow,
    ConsoleRow,
)
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.api.things import make_things
from tests.factories import Tenant, make_tenant

HARMLESS = {"/sso/setup/leave/"}  # lets the browser that asks forget what it has
REMEDY = "add it to the table in tests/architecture/access_table.py"
LOGIN = "/account/login/"
DENIED = {401, 403, 404, 405, 500}


def every_url() -> Iterator[tuple[str, URLPattern]]:
    """Each address, with parameters as {names}, and its pattern."""

    def walk(patterns: list[Any], prefix: str) -> Iterator[tuple[str, URLPattern]]:
        for one in patterns:
            if isinstance(one, URLResolver):
                yield from walk(one.url_patterns, prefix + str(one.pattern))
            else:
                yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", prefix + str(one.pattern)), one

    yield from walk(get_resolver().url_patterns, "/")


def methods_of(pattern: URLPattern) -> list[str]:
    """The methods of an API view; others answer for themselves."""
    view: Any = pattern.callback
    if hasattr(view, "operations"):
        return list(view.operations)
    kind = getattr(view, "cls", None)
    if kind is not None and issubclass(kind, Resource):
        return [method.upper() for method in kind.http_method_names if hasattr(kind, method)]
    return ["POST"]


def is_api(path: str) -> bool:
    return path.startswith(("/api/v1/", "/v1/", "/mcp"))


def is_allauth(pattern: URLPattern) -> bool:
    return pattern.callback.__module__.startswith("allauth")


def bare(path: str) -> str:
    return path.partition("?")[0]


def test_every_url_has_a_row() -> None:
    listed = {f"{row.method} {bare(row.path)}" for row in API}
    listed |= {f"/o/{{slug}}/{bare(row.path)}" for row in CONSOLE} | PUBLIC.keys() | SIGNED.keys()
    listed |= PERSONAL | SECRET_LINKS | SIGN_ON.keys() | GUESTS.keys() | HARMLESS
    served: set[str] = set()
    for path, pattern in every_url():
        if is_api(path):
            served |= {f"{method} {path}" for method in methods_of(pattern)}
        elif not is_allauth(pattern) and not path.startswith((STAFF, SCIM)):
            served.add(path)
    assert not served - listed, f"Nobody says who may open {served - listed}: {REMEDY}."
    assert not listed - served, f"These addresses are in the access table but nowhere else: {listed - served}."


@dataclass(frozen=True, slots=True)
class World:
    """An organization with one of everything, signed-in people of several roles, keys, and a stranger.

    It is committed once, because making it takes longer than everything that a test asks; a test's own transaction
    takes back whatever the test did to it.
    """

    api: Api
    stranger: Api
    browser: Client  # of whoever's cookie it is given; a new one loads every middleware again
    things: dict[str, str]  # path parameters of the API
    pages: dict[str, str]  # of the console
    sessions: dict[UUID, str]  # cookies, by their person
    people: dict[Role, User]
    with_scope: dict[KeyScope, keys.NewKey]
    without_scope: dict[KeyScope, keys.NewKey]


@pytest.fixture(scope="module")
def committed_world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> World:
    """The world, for every test of this file that runs in this process."""
    with django_db_blocker.unblock():
        api, stranger = Api(make_tenant()), Api(make_tenant())
        tenant = api.tenant
        with scope(tenant.organization):
            Organization.objects.update(requests_per_minute=10_000_000, key_limit=1_000, project_limit=1_000)
        things = make_things(api)
        people = {role: member_of(tenant, role) for role in (Role.BILLING, Role.VIEWER, Role.MEMBER)}
        people[Role.OWNER] = tenant.owner
        with scope(tenant.organization):
            project_roles.give(
                actor=tenant.actor,
                actor_role=Role.OWNER,
                user_id=people[Role.MEMBER].pk,
                project_id=tenant.project.pk,
                role=Role.VIEWER,
            )
            event = AuditEvent.objects.latest("id")
        pages = {"project": tenant.project.slug, "event_id": str(event.pk), "user_id": str(people[Role.MEMBER].pk)}
        return World(
            api,
            stranger,
            Client(),
            things,
            things | pages,
            {user.pk: signed_in(user) for user in (*people.values(), stranger.tenant.owner)},
            people,
            {one: key_with(tenant, {one}) for one in KeyScope},
            {one: key_with(tenant, set(KeyScope) - {one}) for one in KeyScope},
        )


@pytest.fixture
def world(committed_world: World, db: None) -> World:
    """The world as it was made: no test before has left anything in the database, nor what it knew of keys."""
    access.reset_key_cache()
    return committed_world


def taken(answer: Any) -> Any:
    """An answer whose body has been read: a download ends with that."""
    if answer.streaming:
        b"".join(answer.streaming_content)
    return answer


def call(api: Api, row: ApiRow, things: dict[str, str], secret: str | None = None) -> Any:
    """The answer to the row's request, with another key when one is given."""
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return taken(api(row.method, row.path.format(**things), row.body, **headers))


def key_with(tenant: Tenant, scopes: set[KeyScope]) -> keys.NewKey:
    maker = keys.Maker(tenant.actor, user=tenant.owner, role=Role.OWNER)
    with scope(tenant.organization):
        return keys.create(maker=maker, project_id=tenant.project.pk, name="Probe", scopes=sorted(scopes))


@pytest.mark.parametrize("row", API, ids=lambda row: f"{row.method} {row.path}")
def test_an_api_route_opens_to_its_scope_alone(world: World, row: ApiRow) -> None:
    api, things = world.api, world.things
    assert call(api, row, things, secret="").status_code == 401
    if row.scope is not None:
        refused = call(api, row, things, world.without_scope[row.scope].secret)
        assert refused.status_code == 403
        assert row.scope in refused.content.decode()
    if row.stranger is not None:
        assert call(world.stranger, row, things).status_code == row.stranger
    own = world.with_scope[row.scope or KeyScope.MEMORY_READ]
    assert call(api, row, things | {"key_id": str(own.key.pk)}, own.secret).status_code == row.ok


@pytest.mark.parametrize("path", sorted(PUBLIC))
def test_a_public_page_needs_nobody(db: None, path: str, settings: Any, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND, settings.OUTBOX_DIR = "capsule_cloud.lib.mail.OutboxBackend", str(tmp_path)
    assert Client().get(path).status_code == 200


@pytest.mark.parametrize("path", sorted(SIGNED))
def test_what_machines_send_is_signed(db: None, path: str) -> None:
    assert Client(enforce_csrf_checks=True).post(path, "{}", content_type="application/json").status_code == 400
    assert Client().get(path).status_code == 405


@pytest.mark.parametrize("path", sorted(SECRET_LINKS))
def test_a_link_that_is_a_secret_cannot_be_guessed(db: None, path: str) -> None:
    guessed = path.format(stripe_id="cs_test_guess", page="guess")
    assert Client().get(guessed).status_code == 404
    assert Client(enforce_csrf_checks=True).post(guessed, {"do": "cancel"}).status_code in {403, 404}


@pytest.mark.parametrize("path", sorted(SIGN_ON))
@pytest.mark.parametrize("query", ["", "?test=1"])
def test_an_identity_provider_that_is_none_lets_nobody_in(db: None, path: str, query: str) -> None:
    browser, guessed = Client(enforce_csrf_checks=True), path.format(provider_id=uuid4(), sign_in_id=uuid4()) + query
    good = SIGN_ON[path]
    assert browser.generic(good, guessed).status_code == 404
    assert browser.get(guessed).status_code == (404 if good == "GET" else 405)
    assert browser.post(guessed, {"SAMLResponse": "x"}).status_code == (404 if good == "POST" else 403)
    assert not browser.session.keys()


@pytest.mark.parametrize("path", sorted(GUESTS))
def test_a_page_of_setup_is_not_there_without_a_link(world: World, path: str) -> None:
    asked = path.format(**world.things, token="guessed")
    for user in (None, world.api.tenant.owner):
        answer = browser_of(world, user).generic(GUESTS[path], asked)
        assert answer.status_code == 404
        assert world.api.tenant.organization.name not in answer.content.decode()
    assert Client(enforce_csrf_checks=True).post(asked).status_code in {403, 405}


SCIM_PATHS = ["", ".search", "Users", "Users/.search", "Users/1", "Groups", "Groups/.search", "Groups/1", "Me", "Bulk"]
SCIM_PATHS += ["Schemas", "Schemas/1", "ResourceTypes", "ResourceTypes/1", "ServiceProviderConfig", "anything/else"]


@pytest.mark.parametrize("path", SCIM_PATHS)
def test_scim_opens_to_a_token_of_a_directory_alone(world: World, path: str) -> None:
    address, key = f"{SCIM}v2/{path}", f"Bearer {world.with_scope[KeyScope.SSO_MANAGE].secret}"
    for user, authorization in ((None, ""), (world.api.tenant.owner, ""), (None, "Bearer x"), (None, key)):
        browser = browser_of(world, user)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            answer = browser.generic(method, address, "{}", HTTP_AUTHORIZATION=authorization)
            if address == SCIM_TELLS_EVERYBODY and not authorization:
                assert answer.status_code == (200 if method == "GET" else 405)
            else:
                assert answer.status_code == 401
                assert answer.headers["Content-Type"] == "application/scim+json"


def test_every_address_of_scim_is_asked() -> None:
    patterns = [pattern for path, pattern in every_url() if path.startswith(SCIM)]
    assert len(patterns) == 12
    assert all(any(one.pattern.match(path) for path in SCIM_PATHS) for one in patterns)


def staff_pages() -> list[str]:
    return [path for path, _ in every_url() if path.startswith(STAFF) and "(?P" not in path]


@pytest.mark.parametrize("path", staff_pages())
def test_a_page_of_the_staff_is_not_there_for_anybody_else(world: World, path: str) -> None:
    path = path.format(object_id="x")
    for user in (None, world.api.tenant.owner):
        for method in ("get", "post"):
            assert getattr(browser_of(world, user), method)(path).status_code == 404


def member_of(tenant: Tenant, role: Role) -> User:
    """Another member, who never types a password."""
    user = User.objects.create_user(f"{uuid4().hex}@example.com")
    with scope(tenant.organization):
        Membership.objects.create(user=user, role=role)
    return user


def signed_in(user: User) -> str:
    """The cookie of a new session of the person."""
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def browser_of(world: World, user: User | None) -> Client:
    """The browser, with nothing but the person's cookie."""
    world.browser.cookies.clear()
    if user is not None:
        world.browser.cookies[settings.SESSION_COOKIE_NAME] = world.sessions[user.pk]
    return world.browser


def open_page(world: World, user: User | None, row: ConsoleRow) -> Any:
    """The answer to the row's request; what the request did is taken back, for whoever comes next."""
    path, browser = f"/o/{world.api.tenant.organization.slug}/{row.path.format(**world.pages)}", browser_of(world, user)
    before = transaction.savepoint()
    if row.method == "GET":
        answer = taken(browser.get(path))
    else:
        path, _, form = path.partition("?")
        answer = browser.post(path, form, content_type="application/x-www-form-urlencoded")
    transaction.savepoint_rollback(before)
    return answer


@pytest.mark.parametrize("row", CONSOLE, ids=lambda row: f"{row.method} {row.path}")
def test_a_page_of_the_console_opens_to_its_right_alone(world: World, row: ConsoleRow) -> None:
    anonymous = open_page(world, None, row)
    assert (anonymous.status_code, anonymous.headers["Location"].partition("?")[0]) == (302, LOGIN)
    assert open_page(world, world.stranger.tenant.owner, row).status_code == 404
    for role in (Role.BILLING, Role.VIEWER, Role.OWNER):
        status = open_page(world, world.people[role], row).status_code
        if row.right in RIGHTS[role]:
            assert status not in DENIED, f"{role} has {row.right} and is answered {status}"
        else:
            assert status == 403, f"{role} lacks {row.right} and is answered {status}"


@pytest.mark.parametrize("path", sorted(PERSONAL))
def test_a_personal_page_asks_who_it_is(db: None, path: str) -> None:
    method = "POST" if path.endswith(("/end/", "/name/")) else "GET"
    answer = Client().generic(method, path.format(token="x", session_id=1))
    assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, LOGIN)


def test_whoever_is_not_signed_in_sees_of_allauth_only_what_comes_before(db: None) -> None:
    browser, open_to_all = Client(), set()
    for path, pattern in every_url():
        if is_allauth(pattern) and "{" not in path and "(?P" not in path and pattern.name:
            browser.cookies.clear()
            answer = browser.get(reverse(pattern.name))
            if answer.status_code == 200:
                open_to_all.add(pattern.name)
    assert open_to_all <= BEFORE_SIGN_IN, f"Open before sign-in: {open_to_all - BEFORE_SIGN_IN}; {REMEDY}."
