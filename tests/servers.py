"""Pytest plugin: PostgreSQL and Valkey for the tests, apart from those of `make run`, with a migrated template.

Loaded with `-p tests.servers`, so that it comes before Django's settings. Two runs at once use two data folders. Each
worker has servers of its own: in a shared one an open transaction holds back what the others' tests wait for, because
PostgreSQL knows one horizon for all its databases.
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
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
TEMPLATE = "template_tests"  # the migrated database in the template's folder
_running = ExitStack()


def free_folder(base: Path) -> Path:
    """The first data folder for tests that no other run uses; its lock is kept until this run ends."""
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


os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of hundreds of processes would compile everything anew
if not IS_WORKER:
    for name in ("DATABASE_URL", "DATABASE_MIGRATE_URL", "BROKER_URL", "CACHE_URL"):
        os.environ.pop(name, None)
    home = embedded.data_dir()
    os.environ["CAPSULE_TEST_TEMPLATE_DIR"] = str(home.with_name(f"{home.name}-tests-template"))
    os.environ["CAPSULE_DATA_DIR"] = str(free_folder(home))
else:
    os.environ["CAPSULE_DATA_DIR"] += f"/{os.environ['PYTEST_XDIST_WORKER']}"
template_dir, own_dir = Path(os.environ["CAPSULE_TEST_TEMPLATE_DIR"]), embedded.data_dir()
embedded.urls(template_dir)  # makes the passwords
own_dir.mkdir(mode=0o711, exist_ok=True)
shutil.copy(template_dir / "secrets.json", own_dir)  # before the settings read them
os.environ["CAPSULE_ENV"] = "test"
os.environ["DNS_NAMESERVERS"] = "127.0.0.1:9"  # nobody: a test that asks DNS has a name server of its own
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


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start the servers where tests run: not in the controlling process of workers."""
    if config.option.collectonly or getattr(config.option, "tx", None):
        return
    _copy_template()
    shutil.rmtree(own_dir / "spool", ignore_errors=True)
    (own_dir / "static").mkdir(exist_ok=True)  # where collected files would be: WhiteNoise warns without it
    _running.enter_context(embedded.Postgres(own_dir, FAST))
    _running.enter_context(embedded.Valkey(own_dir))


def _copy_template() -> None:
    if pid := embedded.Postgres(own_dir, FAST).server_pid():  # of a run that was killed
        os.kill(pid, signal.SIGQUIT)
    shutil.rmtree(own_dir / "postgres", ignore_errors=True)
    with (template_dir / "made.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _keep_template()
        subprocess.run(["cp", "--archive", str(template_dir / "postgres"), str(own_dir)], check=True)


def _keep_template() -> None:
    """Migrate the template when there are new migrations; make it anew when anything that it was made from changed."""
    note, made_from = template_dir / "made-from.json", _sources()
    made = json.loads(note.read_text()) if note.exists() else {}
    if made == made_from:
        return
    note.unlink(missing_ok=True)
    if not made or not made.items() <= made_from.items():
        shutil.rmtree(template_dir / "postgres", ignore_errors=True)
    urls = embedded.urls(template_dir)
    environment = os.environ | {
        "CAPSULE_DATA_DIR": str(template_dir),
        "DATABASE_URL": with_database(urls.app, TEMPLATE),
        "DATABASE_MIGRATE_URL": with_database(urls.owner, TEMPLATE),
    }
    command = [sys.executable, "manage.py", "migrate", "--database", "owner", "--verbosity", "0", "--skip-checks"]
    with embedded.Postgres(template_dir, FAST):
        embedded.provision(urls.superuser, TEMPLATE)
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    note.write_text(json.dumps(made_from))


def _sources() -> dict[str, str]:
    """What the template is made from, with a digest of each: every migration and every installed version."""
    paths = [*ROOT.glob("*/**/migrations/*.py"), *ROOT.glob("billing/djstripe_migrations/*.py")]
    paths += [ROOT / "requirements.lock", ROOT / "infra/database/roles.sql"]
    found = {str(path.relative_to(ROOT)): path for path in paths if ".venv" not in path.parts}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def with_database(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return url.replace("/capsule?", f"/{name}?")


def clone_template(name: str) -> None:
    """Make the database `name` from the template (about 0.4 s)."""
    with psycopg.connect(embedded.urls().superuser, dbname="postgres", autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        server.execute(create.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
    embedded.provision(embedded.urls().superuser, name)  # a copy does not take over who may connect


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, and leave nothing of a worker's."""
    _running.close()
    if IS_WORKER:
        shutil.rmtree(own_dir, ignore_errors=True)
