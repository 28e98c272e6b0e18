"""`manage.py dev`: the whole service on this machine, in one terminal, stopped by one Ctrl-C."""

import http.client
import io
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from capsule_cloud.lib import embedded
from capsule_cloud.lib.jobs import enqueue
from capsule_cloud.lib.processes import Program, StartFailed
from capsule_cloud.lib.supervision import Log, Supervisor
from capsule_cloud.management.seed import seed_demo

HOST, PORT, PORTS_TO_TRY = "127.0.0.1", 8000, 20
# Two workers use two cores; threads hide the waits for the database: with 1, 2, 4 and 8 of them a small recall was
# answered 730, 930, 990 and 840 times a second.
WEB_WORKERS, WEB_THREADS, JOB_THREADS = 2, 4, 4

WELCOME = """
  Capsule Memory Cloud is running at {url}   (Ctrl-C stops everything)
{demo}
"""
DEMO = """
  Sign in:  {email}   {password}
  Mail:     {url}/outbox/
  API:      {url}/docs

  # Remember a turn, seal the session, recall it
  curl {url}/api/v1/sessions/first/ingest -H "Authorization: Bearer {key}" \\
       -H "Content-Type: application/json" \\
       -d '{{"user_id": "dana", "user_message": "We ship on Tuesdays.", "assistant_response": "Noted: Tuesdays."}}'
  curl {url}/api/v1/sessions/first/seal -H "Authorization: Bearer {key}" -H "Content-Type: application/json" -d '{{}}'
  curl -G {url}/api/v1/recall -H "Authorization: Bearer {key}" -d user_id=dana --data-urlencode "q=When do we ship?"
"""


class Command(BaseCommand):
    """Starts what is missing, migrates, makes a demo organization, runs web and jobs, and watches them."""

    help = (
        "Run the whole service: embedded PostgreSQL and Valkey (unless DATABASE_URL, BROKER_URL), web, jobs, one log."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """`--port`, else the first free one from 8000."""
        parser.add_argument("--port", type=int, help=f"listen here or fail (default: first free from {PORT})")

    def handle(self, *args: Any, port: int | None = None, **options: Any) -> None:
        """Run until SIGINT, SIGTERM or SIGHUP.

        Raises CommandError, after stopping what was started, when a step fails.
        """
        log = Log(started=time.monotonic() - process_age())
        try:
            with Supervisor(log) as supervisor:
                port = chosen_port(port)
                url = os.environ.setdefault("PUBLIC_URL", f"http://localhost:{port}")
                start_servers(supervisor, log)
                migrate(log)
                log.say("dev", "starting web, worker and scheduler")
                supervisor.start(web(port), worker(), scheduler())
                enqueue("billing.sell_plans")
                welcome = WELCOME.format(url=url, demo=demonstration(url, log))
                log.say("dev", f"ready after {log.seconds:.1f} s")
                self.stdout.write(welcome)
                supervisor.run()
        except StartFailed as error:
            raise CommandError(str(error)) from error
        log.say("dev", "everything is stopped")


def process_age() -> float:
    """Seconds since this process began: importing Django is part of what people wait for."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(") ", 1)[1].split()[19])
    except OSError:  # not Linux
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def chosen_port(wanted: int | None) -> int:
    """The wanted port, or the first free one.

    Raises CommandError when the wanted one, or every one of them, is taken.
    """
    for port in [wanted] if wanted else range(PORT, PORT + PORTS_TO_TRY):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port
    if wanted:
        raise CommandError(f"Port {wanted} is taken: stop what listens there, or choose another --port.")
    raise CommandError(f"Ports {PORT} to {PORT + PORTS_TO_TRY - 1} are all taken: choose one with --port.")


def start_servers(supervisor: Supervisor, log: Log) -> None:
    """Start the embedded servers that no address replaces, and prepare the database."""
    folder = embedded.data_dir()
    if "BROKER_URL" not in os.environ or "CACHE_URL" not in os.environ:
        log.say("dev", "starting Valkey")
        supervisor.start(embedded.Valkey(folder).program())
    if "DATABASE_URL" not in os.environ:
        log.say("dev", f"starting PostgreSQL on {folder}")
        supervisor.start(embedded.Postgres(folder).program())
        embedded.provision(embedded.urls().superuser, embedded.DATABASE)
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)


def migrate(log: Log) -> None:
    """Apply what is not applied yet, as the tables' owner.

    Raises CommandError when something is, and no DATABASE_MIGRATE_URL says who the owner is.
    """
    alias = "owner" if "owner" in connections else "default"
    executor = MigrationExecutor(connections[alias])
    waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    if not waiting:
        log.say("dev", "the database is up to date")
    elif alias == "default":
        raise CommandError(f"{waiting} migrations are not applied: set DATABASE_MIGRATE_URL to the owner's address.")
    else:
        log.say("dev", f"applying {waiting} migrations")
        call_command("migrate", database=alias, skip_checks=True, stdout=LogStream(log, "migrate"))
    connections.close_all()


def demonstration(url: str, log: Log) -> str:
    """What to type first; made only on the embedded database, never in somebody's real one."""
    if "DATABASE_URL" in os.environ:
        return ""
    log.say("dev", "looking after the demo organization")
    demo = seed_demo()
    connections.close_all()
    return DEMO.format(url=url, email=demo.email, password=demo.password, key=demo.key_secret)


def web(port: int) -> Program:
    """The HTTP server; ready when it answers."""
    return Program(
        name="web",
        argv=(
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", HOST, "--port", str(port)),
            *("--workers", str(WEB_WORKERS), "--blocking-threads", str(WEB_THREADS)),
            *("--workers-kill-timeout", "10", "--log-level", "warning", "capsule_cloud.wsgi:application"),
        ),
        env=child_environment(),
        cwd=settings.BASE_DIR,
        is_ready=answers(port),
    )


def worker() -> Program:
    """The job worker. Threads, because the process pool can hang on SIGTERM when it acknowledges late."""
    options = ("--pool", "threads", "--concurrency", str(JOB_THREADS), "--without-gossip", "--without-mingle")
    return _celery("worker", "worker", *options)


def scheduler() -> Program:
    """What starts periodic jobs. Not inside the worker, who would go on without one that has died."""
    return _celery("scheduler", "beat", "--pidfile=")


def _celery(name: str, *command: str) -> Program:
    celery = (sys.executable, "-m", "celery", "--app", "capsule_cloud.celery", "--quiet")
    return Program(
        name=name,
        argv=(*celery, *command, "--loglevel", "WARNING"),
        env=child_environment(),
        cwd=settings.BASE_DIR,
    )


def child_environment() -> dict[str, str]:
    """Ours, with output that is not held back, and without a warning that only concerns pickled messages."""
    quiet = "ignore:You're running the worker with superuser privileges"
    return {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": quiet}


def answers(port: int) -> Callable[[], bool]:
    """A question whether the service on this port says that it is alive."""

    def ask() -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    return ask


class LogStream(io.TextIOBase):
    """Turns what a command writes into lines of the log."""

    def __init__(self, log: Log, name: str) -> None:
        self._log, self._name, self._begun = log, name, ""

    def write(self, text: str) -> int:
        """Keep the last, unfinished line until its end comes."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(str.strip, lines):
            self._log.say(self._name, line.strip())
        return len(text)
