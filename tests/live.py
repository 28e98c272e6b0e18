"""Runs the real server in processes of its own, for tests that need real HTTP."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import httpx
from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent


def database_url(alias: str) -> str:
    """The URL of the database that this test process uses."""
    address = settings.DATABASES[alias]
    password = quote(str(address["PASSWORD"]), safe="")
    return f"postgresql://{address['USER']}:{password}@/{address['NAME']}?{urlencode({'host': address['HOST']})}"


def environment(**more: str) -> dict[str, str]:
    """What a child process needs to work on the same database."""
    own = {"DATABASE_URL": database_url("default"), "DATABASE_MIGRATE_URL": database_url("owner")}
    own |= {"BROKER_URL": settings.CELERY_BROKER_URL, "CACHE_URL": settings.CACHE_URL}
    own |= {"USAGE_SPOOL_DIR": settings.USAGE_SPOOL_DIR}
    return os.environ | own | more


class LiveServer:
    """`granian` with our WSGI application, on a free port.

    `variables` join its environment. The engine's own tests expect its invented facts and no skills; a test that needs
    the real ones says CAPSULE_MOCK_EXTRACTOR="".
    """

    def __init__(self, workers: int = 2, **variables: str) -> None:
        self.workers = workers
        self.variables = variables
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", str(self.workers), "--blocking-threads", "4"]
        command += ["--no-ws", "--log-level", "warning", "capsule_cloud.wsgi:application"]
        extra = {"PUBLIC_URL": self.url, "CAPSULE_MOCK_EXTRACTOR": "true"} | self.variables
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment(**extra), start_new_session=True)
        transport = httpx.HTTPTransport(retries=8)  # connects again, with growing pauses, until the server listens
        with httpx.Client(transport=transport, timeout=60) as client:
            client.get(f"{self.url}/health").raise_for_status()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
