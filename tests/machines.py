"""Data folders for whole services that a test starts, kills and stops: the database is migrated before they start.

An empty folder takes ten times as long; that a service starts on one is proved once, in tests/journeys/test_demo.py.
"""

import fcntl
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from capsule_cloud.lib import embedded
from capsule_cloud.lib.embedded import places
from tests.servers import FAST, TEMPLATE, template_dir

OTHERS = ("DJANGO_", "CAPSULE_", "PUBLIC_")  # what this process was told about its own servers
ADDRESSES = ("DATABASE_URL", "DATABASE_MIGRATE_URL", "BROKER_URL", "CACHE_URL", "USAGE_SPOOL_DIR")


@contextmanager
def empty_folder() -> Iterator[Path]:
    """A path for a data folder that the unprivileged servers can reach (pytest's own are private)."""
    base = places.ROOT_HOME if os.geteuid() == 0 else Path("/tmp")  # noqa: S108
    path = base / f"t-{uuid.uuid4().hex[:12]}"
    try:
        yield path
    finally:
        for made in (path, places.run_dir(path)):
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def migrated_folder() -> Iterator[Path]:
    """A data folder whose PostgreSQL has the service's database already, with every migration and without a row."""
    with empty_folder() as path:
        path.mkdir(mode=0o711, parents=True)
        with (template_dir / "made.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.copy(template_dir / "secrets.json", path)
            subprocess.run(["cp", "--archive", str(template_dir / "postgres"), str(path)], check=True)
        names = sql.Identifier(TEMPLATE), sql.Identifier(embedded.DATABASE)
        with embedded.Postgres(path, FAST), psycopg.connect(embedded.urls(path).superuser, dbname="postgres") as server:
            server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*names))
        yield path


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a service on the folder: this process's, less what it was told about its own servers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS) and name not in ADDRESSES}
    return {**kept, "CAPSULE_DATA_DIR": str(folder), **more}
