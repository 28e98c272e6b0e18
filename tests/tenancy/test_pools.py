"""The scope's setting ends with its transaction: under a pool of connections, and under PgBouncer."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.conf import settings
from django.db import connection, connections

from tenancy.models import Project
from tenancy.scope import NoScope, SqlCall, one_trip, scope
from tests.factories import Tenant
from tests.raw import connect, inside

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
ENTER = SqlCall("tenancy_enter", ())
VISIBLE = "SELECT array_agg(organization_id) FROM tenancy_project"


@pytest.fixture
def two(transactional_db: None, committed: tuple[Tenant, Tenant]) -> tuple[Tenant, Tenant]:
    """Two committed organizations."""
    return committed


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_the_next_transaction_on_a_connection_sees_nothing(ending: str, two: tuple[Tenant, Tenant]) -> None:
    with connect("app") as pooled:
        pooled.execute("BEGIN")
        pooled.execute("SELECT tenancy_enter(%s)", [two[0].organization.pk])
        assert pooled.execute(VISIBLE).fetchone() == ([two[0].organization.pk],)
        pooled.execute(ending.encode())
        assert pooled.execute(VISIBLE).fetchone() == (None,)
        assert pooled.execute("SELECT current_setting('app.organization_id', true)").fetchone() == ("",)


def test_a_failed_transaction_leaves_nothing_behind(two: tuple[Tenant, Tenant]) -> None:
    with connect("app") as pooled:
        with pytest.raises(psycopg.errors.DivisionByZero), inside(pooled, two[0].organization.pk):
            pooled.execute("SELECT 1 / 0")
        assert pooled.execute(VISIBLE).fetchone() == (None,)


def test_the_application_s_own_connection_forgets(two: tuple[Tenant, Tenant]) -> None:
    with scope(two[0].organization):
        assert Project.objects.count() == 1
    with connection.cursor() as cursor:
        cursor.execute(VISIBLE)
        assert cursor.fetchone() == (None,)
    assert one_trip(two[1].organization.pk, ENTER) == [(two[1].organization.pk,)]
    with connection.cursor() as cursor:
        cursor.execute(VISIBLE)
        assert cursor.fetchone() == (None,)


@pytest.fixture(scope="module")
def bouncer(django_db_setup: None) -> Iterator[int]:
    """The port of a PgBouncer in transaction pooling, with one server connection for all clients."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not here (Debian: apt-get install pgbouncer)")
    database = settings.DATABASES["default"]
    keys = {"host": "HOST", "dbname": "NAME", "user": "USER", "password": "PASSWORD"}
    server = " ".join(f"{key}={database[name]}" for key, name in keys.items())
    folder = Path(tempfile.mkdtemp(prefix="bouncer"))
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "bouncer.ini").write_text(
        f"""[databases]
tenants = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
ignore_startup_parameters = extra_float_digits,options
"""
    )
    (folder / "bouncer.ini").chmod(0o600)
    command = [PGBOUNCER, str(folder / "bouncer.ini")]
    if os.geteuid() == 0:
        command[1:1] = ["-u", "nobody"]
        shutil.chown(folder, "nobody")
        shutil.chown(folder / "bouncer.ini", "nobody")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "process up" in line:
                break
        else:
            pytest.fail("".join(said))
        yield port
        process.terminate()
        process.stderr.read()
    shutil.rmtree(folder)


def through(port: int) -> psycopg.Connection[Any]:
    """A client of the pooler."""
    return psycopg.connect(
        host="127.0.0.1", port=port, dbname="tenants", user="x", autocommit=True, prepare_threshold=None
    )


def test_pgbouncer_hands_a_connection_on_without_its_scope(bouncer: int, two: tuple[Tenant, Tenant]) -> None:
    with through(bouncer) as first, through(bouncer) as second:
        with inside(first, two[0].organization.pk):
            [(server,)] = first.execute("SELECT pg_backend_pid()")
        assert second.execute("SELECT pg_backend_pid()").fetchone() == (server,)
        assert second.execute(VISIBLE).fetchone() == (None,)


def test_many_clients_of_pgbouncer_each_see_their_own(bouncer: int, two: tuple[Tenant, Tenant]) -> None:
    def client(organization_id: UUID) -> set[UUID]:
        pooled = connections["default"].copy()
        pooled.settings_dict = pooled.settings_dict | {"HOST": "127.0.0.1", "PORT": str(bouncer), "NAME": "tenants"}
        pooled.settings_dict["OPTIONS"] = {"prepare_threshold": None}
        connections["default"] = pooled  # this thread's alone
        seen: set[UUID] = set()
        try:
            for _ in range(30):
                with scope(organization_id):
                    seen |= set(Project.objects.values_list("organization_id", flat=True))
                seen |= {row[0] for row in one_trip(organization_id, ENTER)}
                with pytest.raises(NoScope):
                    Project.objects.count()
        finally:
            pooled.close()
        return seen

    ids = [tenant.organization.pk for tenant in two] * 3
    with ThreadPoolExecutor(len(ids)) as threads:
        assert list(threads.map(client, ids)) == [{organization_id} for organization_id in ids]
