"""Fixtures of the console's tests: browsers that are signed in."""

from collections.abc import Callable

import pytest
from django.test import Client

from tenancy.models import User
from tenancy.roles import Role
from tests.factories import Tenant, add_member

SignIn = Callable[[User], Client]


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
