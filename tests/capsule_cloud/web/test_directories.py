"""The console's directories: what an empty page teaches, a token shown once, people, the log, and what helps."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client

from capsule_cloud.web import directories, directory_log
from capsule_cloud.web.directory_guides import GUIDES
from tenancy.roles import Role
from tenancy.scim import exchanges
from tenancy.scim.directories import selectors, tokens
from tenancy.scim.directories.tokens import DirectoryPrincipal, InvalidToken
from tenancy.scim.models import Directory, DirectoryGroup, DirectoryToken, DirectoryUser
from tenancy.scope import scope
from tests.capsule_cloud.web import conftest as console
from tests.capsule_cloud.web.directory_things import put_directory
from tests.factories import Tenant, add_member
from tests.tenancy.sso.saml.conftest import own

Page = Callable[..., str]
PATH = "sso/directories/"


@pytest.fixture
def okta(tenant: Tenant) -> tuple[Directory, DirectoryPrincipal]:
    """A directory at work."""
    return put_directory(tenant)


@pytest.fixture
def path(okta: tuple[Directory, DirectoryPrincipal]) -> str:
    """The directory's page."""
    return f"{PATH}{okta[0].pk}/"


def secret_in(text: str) -> str:
    """The token that a page shows; '' where it shows none."""
    _, mark, after = text.partition('<code id="secret">')
    return after.partition("<")[0] if mark else ""


def is_open(secret: str) -> bool:
    try:
        return bool(tokens.authenticate(f"Bearer {secret}"))
    except InvalidToken:
        return False


def now(tenant: Tenant, directory: Directory) -> Directory:
    with scope(tenant.organization):
        return selectors.directory(directory.pk)


def test_an_empty_page_teaches(tenant: Tenant, page: Page, viewer: Client, sign_in: console.SignIn) -> None:
    text = page(PATH)
    for part in ("Connect your directory", "Copy an address and a token there", "No domain of yours is verified yet."):
        assert part in text
    own(tenant)
    assert "No domain of yours" not in page(PATH)
    page(PATH, 403, viewer)
    assert "Add directory" in page(PATH, 200, sign_in(add_member(tenant, Role.ADMIN, "Bea")))


def test_a_directory_is_added_and_its_token_is_shown_once(tenant: Tenant, page: Page, post: Page) -> None:
    text = post(f"{PATH}new/", {"kind": "entra", "name": "Entra <b>", "default_role": "member"})
    secret = secret_in(text)
    assert is_open(secret)
    assert f"{settings.PUBLIC_URL}/scim/v2" in text
    with scope(tenant.organization):
        [added] = selectors.directories()
    assert (added.kind, added.default_role) == ("entra", "member")
    again = page(f"{PATH}{added.pk}/token/")
    assert secret not in again
    assert "This token was shown already" in again
    text = page(f"{PATH}{added.pk}/")
    assert secret not in text
    for part in ("Entra &lt;b&gt;", "Tenant URL", "connected", "Provision on demand", "No domain of yours is verified"):
        assert part in text
    assert "Entra &lt;b&gt;" in page(PATH)


def test_the_default_role_is_one_that_one_may_give(tenant: Tenant, post: Page, sign_in: console.SignIn) -> None:
    admin = sign_in(add_member(tenant, Role.ADMIN, "Bea"))
    text = post(f"{PATH}new/", {"kind": "okta", "name": "Okta", "default_role": "owner"}, admin, 422)
    assert "Select a valid choice" in text
    assert 'value="owner"' not in text
    assert post(f"{PATH}new/", {"kind": "okta", "name": " ", "default_role": "viewer"}, status=422)


def test_settings_change_and_an_admin_keeps_what_only_an_owner_may_give(
    tenant: Tenant,
    okta: tuple[Directory, DirectoryPrincipal],
    path: str,
    page: Page,
    post: Page,
    sign_in: console.SignIn,
) -> None:
    bea = add_member(tenant, Role.ADMIN, "Bea")
    form = {"kind": "okta", "name": "Staff", "default_role": "owner", "keys_go_to": str(bea.pk)}
    text = post(f"{path}edit/", form)
    assert "Saved." in text
    assert f"go to {bea.email}" in text
    assert f"Go to {bea.email}" in page(f"{path}edit/")
    assert "Saved." in post(f"{path}edit/", form | {"keys_go_to": ""}, sign_in(bea))
    kept = now(tenant, okta[0])
    assert (kept.name, kept.default_role, kept.keys_go_to) == ("Staff", "owner", None)
    assert post(f"{path}edit/", form | {"keys_go_to": str(uuid4())}, status=422)


def test_a_directory_is_switched_off_and_on(
    tenant: Tenant, okta: tuple[Directory, DirectoryPrincipal], path: str, post: Page
) -> None:
    assert "is refused from now on" in post(f"{path}switch/", {"is_on": "0"})
    assert not now(tenant, okta[0]).is_on
    text = post(f"{path}switch/", {"is_on": "1"})
    assert "provisions again" in text
    assert "Switch off" in text


def test_tokens_are_added_rotated_and_revoked(
    tenant: Tenant, okta: tuple[Directory, DirectoryPrincipal], path: str, page: Page, post: Page
) -> None:
    assert "others go on working" in page(f"{path}tokens/new/")
    second = secret_in(post(f"{path}tokens/new/", {"lifetime": "90"}))
    assert is_open(secret_in(post(f"{path}tokens/new/", {"lifetime": "0"})))
    with scope(tenant.organization):
        row = DirectoryToken.objects.get(hint=second[:10])
        assert row.expires_at is not None
    assert "Rotate this token" in page(f"{path}tokens/{row.pk}/rotate/")
    third = secret_in(post(f"{path}tokens/{row.pk}/rotate/", {"overlap": "0"}))
    assert (is_open(second), is_open(third)) == (False, True)
    assert "expired" in page(path)
    first = f"{path}tokens/{okta[1].token_id}/revoke/"
    assert "opens nothing from now on" in page(first)
    text = post(first)
    assert "The token is revoked" in text
    assert 'badge-bad">revoked' in text
    page(f"{path}tokens/{uuid4()}/rotate/", 404)


def test_a_directory_is_removed_once_it_was_asked_for(tenant: Tenant, path: str, page: Page, post: Page) -> None:
    assert "stay members" in page(f"{path}remove/")
    assert "Okta is removed." in post(f"{path}remove/")
    for part in ("", "log/", "failures/", "people/", f"log/{uuid4()}/"):
        page(f"{path}{part}", 404)


def test_people_are_listed_with_who_they_are_here(
    tenant: Tenant, okta: tuple[Directory, DirectoryPrincipal], path: str, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "PAGE_SIZE", 2)
    assert "Nobody has come yet" in page(f"{path}people/")
    with scope(tenant.organization):
        for name, more in (("ada", {"user": tenant.owner}), ("bob", {"is_active": False}), ("eve", {})):
            values: dict[str, Any] = {"user_name": f"{name}@acme.example", "external_id": f"00u{name}"} | more
            DirectoryUser.objects.create(directory=okta[0], **values)
        DirectoryGroup.objects.create(directory=okta[0], display_name="Staff")
        last = DirectoryUser.objects.get(user_name__startswith="bob")
    text = page(f"{path}people/")
    for part in (tenant.owner.email, "00uada", "left", "2 active of 3 people, 1 groups", f"after={last.pk}"):
        assert part in text
    text = page(f"{path}people/?after={last.pk}")
    assert "eve@acme.example" in text
    assert "none yet" in text
    text = page(f"{path}people/?q=ADA")
    assert "ada@acme.example" in text
    assert "bob@acme.example" not in text
    assert "Nobody has this" in page(f"{path}people/?q=zoe")


def test_the_log_is_filtered_paged_and_shown_in_full(
    tenant: Tenant, okta: tuple[Directory, DirectoryPrincipal], path: str, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, who = okta
    monkeypatch.setattr(directory_log, "PAGE_SIZE", 2)
    assert "It has not written yet" in page(f"{path}log/")
    refused = {"detail": "<b>ada</b> is here already.", "scimType": "uniqueness"}
    for status, body in ((200, None), (201, {"id": "u1"}), (409, refused)):
        exchanges.record(
            principal=who,
            method="POST" if status > 200 else "GET",
            path=f"/scim/v2/Users?n={status}",
            status=status,
            scim_type=str((body or {}).get("scimType", "")),
            answer=body,
            resource_type="User",
            resource_id="u1",
        )
    with scope(tenant.organization):
        newest, middle, _ = selectors.exchanges(directory.pk, limit=9)
    text = page(f"{path}log/")
    assert "&lt;b&gt;ada&lt;/b&gt; is here already." in text
    assert "n=200" not in text
    assert f"before={middle.pk}" in text
    assert "n=200" in page(f"{path}log/?before={middle.pk}")
    text = page(f"{path}log/?kind=failure&hours=24&resource=u1")
    assert "n=409" in text
    assert "n=201" not in text
    assert "No such requests" in page(f"{path}log/?resource=zoe%00")
    for query in ("kind=odd", "hours=2", "before=odd"):
        page(f"{path}log/?{query}", 404)
    text = page(f"{path}log/{newest.pk}/")
    for part in ("Somebody or something with this name", "Let the directory look for it", "Everything about this user"):
        assert part in text
    assert "uniqueness" in text
    assert "notice-bad" not in page(f"{path}log/{middle.pk}/")
    page(f"{path}log/{uuid4()}/", 404)
    for place in (f"{path}failures/", path):
        text = page(place)
        assert "Somebody or something with this name" in text
        assert "1 time<" in text


def test_without_failures_the_page_says_so(path: str, page: Page) -> None:
    assert "Nothing has failed" in page(f"{path}failures/")
    assert "What failed lately" not in page(path)


def test_who_may_not_read_of_single_sign_on_sees_no_directory(path: str, page: Page, viewer: Client) -> None:
    for part in ("", "people/", "log/", "failures/"):
        page(f"{path}{part}", 403, viewer)


def test_the_page_waits_for_the_first_request(
    tenant: Tenant, okta: tuple[Directory, DirectoryPrincipal], path: str, owner: Client, home: str
) -> None:
    def state() -> str:
        return owner.get(home + path, headers={"HX-Request": "true"}).content.decode()

    assert 'badge-good">connected' in state()
    with scope(tenant.organization):
        Directory.objects.update(last_request_at=None)
    assert "waiting for its first request" in state()
    assert 'hx-trigger="every 5s"' in state()
    with scope(tenant.organization):
        Directory.objects.update(is_on=False)
    assert "switched off" in state()


@pytest.mark.parametrize("kind", Directory.Kind.values)
def test_every_kind_has_its_steps(tenant: Tenant, page: Page, kind: str) -> None:
    directory, _ = put_directory(tenant, kind=kind)
    text = page(f"{PATH}{directory.pk}/")
    assert all(title in text for title, _ in GUIDES[kind])
