"""Fixtures of the console's tests: browsers that are signed in."""

from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from playwright.sync_api import Browser

from tenancy.models import User
from tenancy.roles import Role
from tests.billing.services import conftest as shopping
from tests.capsule_cloud.web.browser import CHROMIUM, borrowed
from tests.factories import Tenant, add_member

SignIn = Callable[[User], Client]
Page = Callable[..., str]
shop, buy = shopping.shop, shopping.buy  # fixtures: plans for sale, and a customer who buys one


def queries(browser: Client, address: str) -> int:
    """How many queries a page takes; the second time, when this process knows what it keeps."""
    browser.get(address)
    with CaptureQueriesContext(connection) as captured:
        assert browser.get(address).status_code == 200
    return len(captured)


@pytest.fixture
def sign_in() -> SignIn:
    """Makes a browser in which a person is signed in."""

    def browser_of(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return browser_of


@pytest.fixture
def owner(tenant: Tenant, sign_in: SignIn) -> Client:
    """The browser of the tenant's owner."""
    return sign_in(tenant.owner)


@pytest.fixture
def viewer(tenant: Tenant, sign_in: SignIn) -> Client:
    """The browser of a viewer in the tenant's organization."""
    return sign_in(add_member(tenant, Role.VIEWER, "Vera"))


@pytest.fixture
def home(tenant: Tenant) -> str:
    """The address of the tenant's organization."""
    return f"/o/{tenant.organization.slug}/"


@pytest.fixture
def page(owner: Client, home: str) -> Page:
    """The text of a page below the organization's address, as its owner sees it: `page("billing/", 200)`."""

    def text_of(path: str, status: int = 200, browser: Client = owner) -> str:
        answer = browser.get(home + path)
        assert answer.status_code == status
        return answer.content.decode()

    return text_of


@pytest.fixture
def post(owner: Client, home: str) -> Page:
    """Posts a form as the owner and follows it to the page that says what became of it: its text."""

    def text_after(path: str, form: dict[str, object] | None = None, browser: Client = owner, status: int = 200) -> str:
        answer = browser.post(home + path, form or {}, follow=True)
        assert answer.status_code == status
        return answer.content.decode()

    return text_after


@pytest.fixture
def chromium(pytestconfig: pytest.Config) -> Iterator[Browser]:
    """Chromium; where it is missing the browser tests are skipped, and the summary says so."""
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM HERE: as root, `make test` installs it")
    with borrowed(pytestconfig) as browser:
        yield browser
        for left in browser.contexts:
            left.close()


@pytest.fixture
def may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright runs an event loop in this thread, where Django would otherwise refuse to query."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
