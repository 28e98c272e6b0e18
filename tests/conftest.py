"""Fixtures for every test: a database of its own for each worker, makers of tenants, a live server."""

import os
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connections
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from billing.quotas import leases
from tenancy.audit.attempts import services as attempts
from tests import servers
from tests.factories import Tenant, make_tenant
from tests.live import LiveServer


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Give this worker a copy of the migrated template, for both the application's and the owner's connection."""
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    with django_db_blocker.unblock():
        for alias in settings.DATABASES:
            connections[alias].close()
        servers.clone_template(name)
        for alias in settings.DATABASES:
            settings.DATABASES[alias]["NAME"] = name
            connections[alias].settings_dict["NAME"] = name
        # what a worker's servers count belongs into that worker's database
        settings.USAGE_SPOOL_DIR = f"{settings.USAGE_SPOOL_DIR}/{name}"
    yield
    with django_db_blocker.unblock():
        for alias in settings.DATABASES:
            connections[alias].close()


@pytest.fixture(autouse=True, scope="session")
def _keep_committed_rows() -> None:
    """Leave what a transactional test committed: the application's role cannot truncate, and each tenant is its own."""
    TransactionTestCase._fixture_teardown = lambda self: None  # type: ignore[attr-defined]


@pytest.fixture(autouse=True, scope="session")
def _look_for_static_files_when_they_are_asked_for() -> None:
    """Each test client has middleware of its own, which would read all of them: 13 ms a client."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(autouse=True, scope="session")
def _give_back_nothing_in_between() -> None:
    """A test that imports the server's application has started its thread, which would ask the database by itself."""
    leases.stop()
    attempts.stop()


@pytest.fixture
def tenant(db: None) -> Tenant:
    """A fresh organization with its owner, a project and a key, made by the real services."""
    return make_tenant()


@pytest.fixture
def stranger(db: None) -> Tenant:
    """Another organization, which must see nothing of the first."""
    return make_tenant()


@pytest.fixture(scope="session")
def live(django_db_setup: None) -> Iterator[LiveServer]:
    """The real server in processes of its own, on this worker's database."""
    with LiveServer() as server:
        yield server


@pytest.fixture
def live_tenant(live: LiveServer, transactional_db: None) -> Tenant:
    """A committed organization that the live server can see."""
    return make_tenant()
