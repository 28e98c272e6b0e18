"""Pytest plugin: PostgreSQL and Valkey for the tests, apart from those of `make run`, with a migrated template.

Loaded with `-p tests.servers`, so that it comes before Django's settings. Two runs at once use two data folders.
"""

import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from capsule_cloud.lib import embedded

ROOT = Path(__file__).resolve().parent.parent
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_running = ExitStack()


def free_folder() -> Path:
    """The first data folder for tests that no other run uses; its lock is kept until this run ends."""
    base = embedded.data_dir()
    for number in count():
        folder = base.with_name(f"{base.name}-tests-{number}")
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = (folder / "run.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            _running.enter_context(lock)
            return folder
    raise AssertionError("count() has no end")


for name in ("DATABASE_URL", "DATABASE_MIGRATE_URL", "BROKER_URL", "CACHE_URL"):
    if not IS_WORKER:
        os.environ.pop(name, None)
if not IS_WORKER:
    os.environ["CAPSULE_DATA_DIR"] = str(free_folder())
os.environ["CAPSULE_ENV"] = "test"
os.environ["PUBLIC_URL"] = "http://testserver"


_look_up = socket.getaddrinfo


def _look_up_here(host: Any, *args: Any, **kwargs: Any) -> Any:
    """Know this machine alone: a name that nobody answers for takes half a minute behind some firewalls."""
    name = host.decode() if isinstance(host, bytes) else host
    if name not in (None, "", "localhost", socket.gethostname()):
        try:
            ip_address(name.partition("%")[0])
        except ValueError:
            raise socket.gaierror(socket.EAI_NONAME, "tests look up no names") from None
    return _look_up(host, *args, **kwargs)


socket.getaddrinfo = _look_up_here


def template_name() -> str:
    """The template's name says what it was made from: every migration and every installed version."""
    digest = hashlib.sha256((ROOT / "requirements.lock").read_bytes())
    for path in sorted([*ROOT.glob("*/**/migrations/*.py"), *ROOT.glob("billing/djstripe_migrations/*.py")]):
        if ".venv" not in path.parts:
            digest.update(path.read_bytes())
    digest.update((ROOT / "infra/database/roles.sql").read_bytes())
    return f"template_{digest.hexdigest()[:16]}"


def with_database(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return url.replace("/capsule?", f"/{name}?")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start the servers once, in the controlling process, and make the template if it is new."""
    if IS_WORKER or config.option.collectonly:
        return
    folder = embedded.data_dir()
    shutil.rmtree(folder / "spool", ignore_errors=True)
    (folder / "static").mkdir(exist_ok=True)  # where collected files would be: WhiteNoise warns without it
    _running.enter_context(embedded.Postgres(folder, FAST))
    _running.enter_context(embedded.Valkey(folder))
    urls, name = embedded.urls(), template_name()
    with psycopg.connect(urls.superuser, dbname="postgres", autocommit=True) as server:
        kept = {row[0] for row in server.execute("SELECT datname FROM pg_database")}
        for old in kept:
            if old.startswith(("template_", "test_")) and old != name:
                server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(old)))
        if name not in kept:
            _make_template(urls, name)
    os.environ["CAPSULE_TEST_TEMPLATE"] = name


def _make_template(urls: embedded.EmbeddedUrls, name: str) -> None:
    partial = f"test_{name}"
    embedded.provision(urls.superuser, partial)
    environment = os.environ | {
        "DATABASE_URL": with_database(urls.app, partial),
        "DATABASE_MIGRATE_URL": with_database(urls.owner, partial),
    }
    command = [sys.executable, "manage.py", "migrate", "--database", "owner", "--verbosity", "0", "--skip-checks"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    with psycopg.connect(urls.superuser, dbname="postgres", autocommit=True) as server:
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        server.execute(rename.format(sql.Identifier(partial), sql.Identifier(name)))


def clone_template(name: str) -> None:
    """Make the database `name` from the template (about 0.4 s)."""
    with psycopg.connect(embedded.urls().superuser, dbname="postgres", autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        template = sql.Identifier(os.environ["CAPSULE_TEST_TEMPLATE"])
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        server.execute(create.format(sql.Identifier(name), template))
    embedded.provision(embedded.urls().superuser, name)  # a copy does not take over who may connect


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers."""
    _running.close()
