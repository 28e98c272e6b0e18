"""The product in processes that may be killed and started again: PostgreSQL, Valkey, web, jobs, those that are busy."""

import io
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import IO

import psycopg

from capsule_cloud.lib import embedded
from capsule_cloud.lib.processes import Child, Program
from capsule_cloud.lib.supervision import Log
from capsule_cloud.management.commands import dev
from tests.bench.house import free_port

SHIPPER = """
import logging, django
django.setup()
logging.disable()  # what is killed under it is no news
from django.db import DatabaseError, close_old_connections
from billing.metering import services
while True:
    try:
        services.ship()
        services.roll_up()
    except (DatabaseError, services.ShipFailed):
        close_old_connections()
"""

SEALER = """
import logging, django
django.setup()
logging.disable()
from django.db import DatabaseError, close_old_connections
from tenancy.audit.sealing import sealer
while True:
    try:
        sealer.seal(batch=50)
    except DatabaseError:
        close_old_connections()
"""


# Small parts, forty of whatever there is, and each on disk: death comes in the middle of a file
EXPORTER = """
import logging, time, django
from datetime import timedelta
django.setup()
logging.disable()
from django.db import Error, close_old_connections
from tenancy.audit.exports import rows, turns, writing
from tenancy.audit.sealing import selectors
writing.BEAT = writing.SETTLED_EVERY = 0.0
turns.LEASE = timedelta(seconds=3)  # so that somebody else goes on soon
while True:
    try:
        if turn := turns.claim():
            with turn.scope():
                rows.STEP = max(2, selectors.sealed_size() // 40)
            writing.attend(turn)
        else:
            time.sleep(0.05)
    except Error:
        close_old_connections()
"""


class Servers:
    """Every process of the product on one data folder. Kill and start them from one thread: the one that made it."""

    def __init__(self, folder: Path, log: IO[bytes]) -> None:
        self.log, self.port = log, free_port()
        self.postgres = embedded.Postgres(folder)
        self.valkey = embedded.Valkey(folder)
        self.children: dict[str, Child] = {}

    @property
    def url(self) -> str:
        """Where the web server listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, name: str) -> None:
        """Start `postgres`, `valkey`, `web`, `jobs`, `scheduler`, or one of BUSY; wait until it is ready."""
        programs: dict[str, Callable[[], Program]] = {
            "postgres": self.postgres.program,
            "valkey": self.valkey.program,
            "web": lambda: dev.web(self.port),
            "jobs": dev.worker,
            "scheduler": dev.scheduler,
        }
        if name in BUSY:
            programs[name] = lambda: Program(name, (sys.executable, "-c", BUSY[name]), env=os.environ)
        self.children[name] = Child(programs[name](), self.log)
        self.children[name].wait_until_ready()

    def stop(self, *names: str) -> None:
        """Stop some of them politely."""
        for name in names:
            self.children.pop(name).stop()

    def kill(self, victim: str, chance: Random) -> None:
        """kill -9: one of VICTIMS; whoever falls is started again."""
        if not self.children["scheduler"].is_running():  # it found no database as it began
            self.start("scheduler")
        name = VICTIMS[victim]
        if victim == "web worker":
            os.kill(chance.choice(_children(self.children[name].pid)), signal.SIGKILL)
        elif victim == "PostgreSQL backend":
            self._kill_a_backend(chance)
            return  # the postmaster ends every other, recovers and goes on
        if victim == "PostgreSQL, immediate":
            self.children[name].popen.send_signal(signal.SIGQUIT)
            self.children[name].popen.wait(60)
        self.children[name].kill_group()
        if name == "web":
            self._wait_for_the_port()
        self.start(name)

    def _kill_a_backend(self, chance: Random) -> None:
        with psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
            mine = server.info.backend_pid
            rows = server.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'").fetchall()
        if others := [pid for (pid,) in rows if pid != mine]:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(others), signal.SIGKILL)

    def _wait_for_the_port(self) -> None:
        """A dying worker's socket takes connections to the last, and would greet who waits for the new server."""
        with suppress(ConnectionRefusedError):
            while True:
                with suppress(ConnectionResetError):
                    socket.create_connection(("127.0.0.1", self.port), timeout=10).close()


BUSY = {"shipper": SHIPPER, "sealer": SEALER, "exporter": EXPORTER}
VICTIMS = {
    **{name: name for name in BUSY},
    "jobs": "jobs",
    "scheduler": "scheduler",
    "broker": "valkey",
    "PostgreSQL": "postgres",
    "PostgreSQL, immediate": "postgres",
    "PostgreSQL backend": "postgres",
    "web worker": "web",
    "web server": "web",
}


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def product(folder: Path, *busy: str) -> Iterator[Servers]:
    """Everything running on the folder, migrated, with processes that are `busy`; everything stopped at the end."""
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (folder / "chaos.log").open("ab") as log:
        servers = Servers(folder, log)
        try:
            for name in ("postgres", "valkey"):
                servers.start(name)
            embedded.provision(embedded.urls().superuser, embedded.DATABASE)
            dev.migrate(Log(io.StringIO()))
            for name in ("web", "jobs", "scheduler", *busy):
                servers.start(name)
            yield servers
        finally:
            servers.stop(*reversed(servers.children))
