"""The bench's own world: embedded servers that really write to disk, a migrated database, and servers under test."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from capsule_cloud.lib import embedded
from capsule_cloud.lib.processes import Child, Program

ROOT = Path(__file__).resolve().parents[2]
WORKERS, THREADS = 2, 4  # as in production: two cores, and four waits for the database on each
ENGINE_KEY = "the-engine-has-one-key-for-everybody"


@contextmanager
def house() -> Iterator[Path]:
    """A fresh data folder with PostgreSQL (fsync on) and Valkey, migrated, and this process's environment on it.

    Yields the folder; removes it at the end.
    """
    base = embedded.data_dir()
    folder = base.with_name(f"{base.name}-bench-{os.getpid()}")
    for name in ("DATABASE_URL", "DATABASE_MIGRATE_URL", "BROKER_URL", "CACHE_URL"):
        os.environ.pop(name, None)
    os.environ |= {"CAPSULE_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "capsule_cloud.settings"}
    os.environ |= {"LOG_LEVEL": "WARNING", "CAPSULE_ENV": "development"}
    os.environ["AUDIT_CHECKS_VALUES"] = "0"  # as in production
    try:
        with embedded.Postgres(folder), embedded.Valkey(folder):
            embedded.provision(embedded.urls().superuser, embedded.DATABASE)
            migrate = [sys.executable, "manage.py", "migrate", "--database", "owner", "--skip-checks"]
            subprocess.run([*migrate, "--verbosity", "0"], cwd=ROOT, check=True)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Server:
    """A running HTTP server: where it listens, and the process whose descendants serve."""

    url: str
    pid: int


@contextmanager
def product(application: str = "capsule_cloud.wsgi:application", **environment: str) -> Iterator[Server]:
    """The product as in production: granian, WSGI, two workers. `application` may be one of the variants in `peers`."""
    port = free_port()
    argv = _granian("wsgi", port, application, "--blocking-threads", str(THREADS))
    with _serving("product", argv, port, {"PUBLIC_URL": f"http://127.0.0.1:{port}"} | environment) as server:
        yield server


@contextmanager
def fastapi_peer(**environment: str) -> Iterator[Server]:
    """The bare FastAPI application, under the same server with as many workers."""
    port = free_port()
    argv = _granian("asgi", port, "tests.bench.peers.fastapi_app:app", "--loop", "uvloop")
    with _serving("fastapi", argv, port, environment) as server:
        yield server


@contextmanager
def scim_peer() -> Iterator[Server]:
    """scim2-server's own application, under the same server; its storage lives in one process."""
    port = free_port()
    argv = _granian("wsgi", port, "tests.bench.peers.scim_app:application", "--blocking-threads", str(THREADS))
    argv = tuple("1" if argv[n - 1] == "--workers" else word for n, word in enumerate(argv))
    with _serving("scim2-server", argv, port, {}) as server:
        yield server


@contextmanager
def engine(storage: Path) -> Iterator[Server]:
    """The engine's own server on a storage folder: one process, as it is meant to run (its sessions live in it)."""
    port = free_port()
    program = str(Path(sys.executable).parent / "capsule-memory")
    argv = (program, "serve", "--host", "127.0.0.1", "--port", str(port), "--storage", str(storage))
    with _serving("engine", argv, port, {"CAPSULE_API_KEY": ENGINE_KEY}) as server:
        yield server


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _granian(interface: str, port: int, application: str, *more: str) -> tuple[str, ...]:
    argv = (sys.executable, "-m", "granian", "--interface", interface, "--host", "127.0.0.1", "--port", str(port))
    return (*argv, "--workers", str(WORKERS), "--no-ws", "--log-level", "warning", *more, application)


@contextmanager
def _serving(name: str, argv: tuple[str, ...], port: int, environment: dict[str, str]) -> Iterator[Server]:
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310  our own address
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
            return False

    program = Program(name=name, argv=argv, env=os.environ | environment, cwd=ROOT, is_ready=answers)
    with (embedded.data_dir() / f"{name}.log").open("ab") as log:
        child = Child(program, log)
    try:
        child.wait_until_ready()
        yield Server(url, child.pid)
    finally:
        child.stop()
