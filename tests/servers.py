"""Pytest plugin: starts PostgreSQL and Valkey for the tests, apart from those of `make run`, and keeps a migrated template.

Loaded with `-p tests.servers`, so that it comes before Django's settings. CAPSULE_TEST_DIR chooses another data folder, for
two runs at once.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from capsule_cloud.lib import embedded

ROOT = Path(__file__).resolve().parent.parent
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
FAST = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "max_connections=200"]

for name in ("DATABASE_URL", "DATABASE_MIGRATE_URL", "BROKER_URL", "CACHE_URL"):
    if not IS_WORKER:
        os.environ.pop(name, None)
if not IS_WORKER:
    chosen = os.environ.get("CAPSULE_TEST_DIR")
    os.environ["CAPSULE_DATA_DIR"] = chosen or f"{embedded.data_dir()}-tests"
os.environ["CAPSULE_ENV"] = "test"
os.environ["PUBLIC_URL"] = "http://testserver"

_running = ExitStack()


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
    command = [sys.executable, "manage.py", "migrate", "--database", "owner", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)  # noqa: S603
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


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers."""
    _running.close()
