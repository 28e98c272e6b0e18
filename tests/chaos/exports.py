"""Asks for exports while everything is killed, and proves those that came out with the customers' program."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
from django.conf import settings

from capsule_cloud.lib import embedded
from capsule_cloud.management.commands.verify_audit import program
from tenancy.audit.exports import tidying, writing
from tenancy.audit.exports.models import Export
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing import keys, selectors
from tenancy.scope import scope
from tests.chaos.clients import PAUSE, Clients

WISHES = (
    {"format": "jsonl"},
    {"format": "parquet"},
    {"format": "csv", "compression": "zstd"},
    {"format": "jsonl", "compression": "gzip"},
    {"format": "csv"},
)
EXPORTER = "exporter"
QUEUED = 2  # exports that are under way at once, so that there is always one to be killed
PATIENCE = 120.0
ORGANIZATION = "SELECT DISTINCT organization_id FROM audit_exports_export"
_UNDER_WAY = "state IN ('queued', 'running', 'sending')"
UNDER_WAY = f"SELECT count(*) FROM audit_exports_export WHERE {_UNDER_WAY}"
IN_MID_FILE = (
    "SELECT max(id || ' ' || position) FROM audit_exports_export "
    "WHERE state = 'running' AND position > first AND position < last "
    "AND leased_until < now() + interval '10 seconds'"  # the exporter's leases are shorter than those of jobs
)
NOW = f"UPDATE audit_exports_export SET leased_until = NULL, due_at = now() WHERE {_UNDER_WAY}"


class Exports:
    """A customer who asks for exports of everything, again and again, and takes what is offered."""

    http: httpx.Client  # while it asks

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "taken"
        self.asked: list[str] = []
        self.whole = self.given_up = self.events = self.killed_in_mid_file = 0
        self.wrong: list[str] = []

    def __str__(self) -> str:
        return (
            f"exports {self.whole}, of {self.events} events, given up {self.given_up}, "
            f"killed in mid file {self.killed_in_mid_file}"
        )

    @contextmanager
    def under_way(self, clients: Clients, victim: str) -> Iterator[None]:
        """Have exports written while a victim dies; the exporter itself dies in the middle of a file."""
        self.http = httpx.Client(base_url=clients.url, headers=clients.headers, timeout=30)
        with self.http:
            self._look()
            while _ask(UNDER_WAY) < QUEUED:
                self._ask()
            if victim == EXPORTER:
                self._wait_for_the_middle_of_a_file()
            yield
            self.killed_in_mid_file += victim == EXPORTER and _ask(IN_MID_FILE) is not None

    def finish(self) -> None:
        """Write what is left, as if the time had come. Nobody else may be at it."""
        for _ in range(writing.MOST_ATTEMPTS + 1):
            with psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
                server.execute(NOW.encode())
            if not writing.work():
                break
        tidying.LEFT_ALONE = 0.0  # as if it were an hour later
        tidying.tidy()

    def check(self, clients: Clients) -> None:
        """Take every export as a customer does, prove it, and count its events."""
        self.folder.mkdir()
        organization_id = _ask(ORGANIZATION)
        public = [{"public_key": one["public_key"], "state": one["state"]} for one in keys.published()]
        (self.folder / "audit-keys.json").write_text(json.dumps({"keys": public}))
        with scope(UUID(str(organization_id))):
            exports = list(Export.objects.order_by("id"))
            bodies = dict(AuditEvent.objects.values_list("id", "body"))
            trail = [bodies[leaf.event_id].encode() for leaf in selectors.leaves(0, 10**9)]
        if sorted(self.asked) != [str(one.pk) for one in exports]:
            self.wrong.append(f"{len(self.asked)} exports were asked for, there are {len(exports)}")
        with httpx.Client(base_url=clients.url, headers=clients.headers, timeout=30) as self.http:
            for export in exports:
                self.wrong += [f"{export.label}: {one}" for one in self._wrong(export, trail)]
        self.wrong += _left_behind(exports)

    def _ask(self) -> None:
        number = len(self.asked)
        wish = WISHES[number % len(WISHES)]
        made = self._answer("POST", "/v1/audit/exports", json=wish, headers={"Idempotency-Key": f"export-{number}"})
        self.asked.append(made.json()["id"])

    def _look(self) -> None:
        """Nothing is offered of what is not whole."""
        for one in self.asked[-2 * QUEUED :]:
            said = self._answer("GET", f"/v1/audit/exports/{one}").json()
            if bool(said["files"]) != (said["state"] == "ready"):
                self.wrong.append(f"{one}: {said['state']}, and offers {len(said['files'])} files")

    def _wait_for_the_middle_of_a_file(self) -> None:
        """Until one grows: who wrote the one that is in the middle may be dead."""
        ends_at, before = time.monotonic() + PATIENCE, None
        while True:
            now = _ask(IN_MID_FILE)
            if now and before and now != before:
                return
            before = now or before
            if time.monotonic() > ends_at:
                raise TimeoutError(f"No export is being written for {PATIENCE} s.")
            if not _ask(UNDER_WAY):
                self._ask()

    def _answer(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """Ask through every death of the server."""
        ends_at = time.monotonic() + PATIENCE
        while time.monotonic() < ends_at:
            with suppress(httpx.TransportError):
                answer = self.http.request(method, path, **sent)
                if answer.is_success:
                    return answer
                if answer.is_client_error and answer.status_code != httpx.codes.CONFLICT:  # the first is under way
                    raise AssertionError(f"{answer.status_code}: {answer.text}")
            time.sleep(PAUSE)
        raise TimeoutError(f"{method} {path} is not answered for {PATIENCE} s.")

    def _wrong(self, export: Export, trail: list[bytes]) -> Iterator[str]:
        said = self._answer("GET", f"/v1/audit/exports/{export.pk}").json()
        if said["state"] == "failed":  # each of its writers was killed: it says so, and offers nothing
            self.given_up += 1
            yield from (f"{one['name']} is offered of an export that failed" for one in said["files"])
            return
        files = {one["holds"]: one for one in said["files"]}
        if not said["checkpoint_size"]:  # it was asked for before there was a seal
            yield from (f"{one} is not sealed" for one in files if one not in {"events", "names"} or said["events"])
            return
        for one in files.values():
            content = self._answer("GET", one["url"].partition(settings.PUBLIC_URL)[2]).content
            if (len(content), hashlib.sha256(content).hexdigest()) != (one["bytes"], one["sha256"]):
                yield f"{one['name']} is another than was said"
            (self.folder / one["name"]).write_bytes(content)
        verifier, path = program(), self.folder / files["manifest"]["name"]
        found, _ = verifier.check(
            verifier.parser().parse_args(["export", str(path), "--keys", str(self.folder / "audit-keys.json")])
        )
        yield from found
        manifest = json.loads(path.read_text())["manifest"]
        [described] = manifest["files"]
        if described["sha256"] != files["events"]["sha256"]:
            yield "the manifest is of another file"
        rows = verifier.READERS[described["format"]](self.folder / described["name"], described["compression"])
        events = [row.body for row in rows]
        if events != trail[: said["checkpoint_size"]]:
            yield "its events are not those up to its checkpoint, each once and in order"
        if {manifest["count"], described["count"], said["events"], len(events)} != {said["checkpoint_size"]}:
            yield f"it has {len(events)} events, and says {manifest['count']}"
        self.whole += 1
        self.events += len(events)


def _ask(statement: str) -> Any:
    """The one value of a statement, as soon as PostgreSQL answers."""
    while True:
        with (
            suppress(psycopg.OperationalError),
            psycopg.connect(embedded.urls().superuser, autocommit=True) as server,
        ):
            [(found,)] = server.execute(statement.encode())
            return found
        time.sleep(PAUSE)


def _left_behind(exports: list[Export]) -> Iterator[str]:
    """What is on disk without being an export's."""
    root = Path(settings.EXPORTS_DIR)
    yield from (f"{one.name} is left where exports are written" for one in root.glob("part/*"))
    named = {f"{one.folder}/{file['name']}" for one in exports for file in one.files}
    kept = {str(one.relative_to(root / "kept")) for one in root.glob("kept/*/[!.]*")}
    yield from (f"{one} is kept, and nobody's" for one in sorted(kept - named))
    yield from (f"{one} is offered, and not there" for one in sorted(named - kept))
