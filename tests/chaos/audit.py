"""Kills sealer, exporter, web and PostgreSQL under load: is every event sealed once, proved, and in each export?"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import psycopg
from django.db import connections

from capsule_cloud.lib import embedded
from capsule_cloud.management.commands.verify_audit import program
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing import keys, notes, sealer, selectors
from tenancy.audit.sealing.merkle import Frontier, leaf_hash
from tenancy.audit.sealing.models import Checkpoint
from tenancy.scope import scope
from tests.chaos.clients import INGEST, Deed
from tests.chaos.exports import EXPORTER, Exports
from tests.chaos.killing import kill_under_load
from tests.chaos.servers import product

WEIGHTS = {
    "sealer": 8,
    EXPORTER: 8,
    "PostgreSQL": 3,
    "PostgreSQL, immediate": 3,
    "PostgreSQL backend": 3,
    "web worker": 3,
    "web server": 2,
    "jobs": 2,
    "scheduler": 1,
    "broker": 1,
}
WELL = "every event is sealed once, without a gap, every proof is valid, and every export is whole"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What clients were told, what is in the trail, and what does not hold of its seals."""

    killed: Counter[str]
    seconds: float
    acknowledged: int
    lost: int
    double: int
    events: int
    sealed: int
    checkpoints: int
    proofs: int
    exports: Exports
    wrong: list[str]

    @property
    def is_exact(self) -> bool:
        """Nothing lost, nothing double, everything sealed, every proof valid and every export whole."""
        is_whole = self.events == self.sealed and self.proofs > self.acknowledged > 0 and self.exports.whole > 0
        return is_whole and not self.lost and not self.double and not self.wrong

    def __str__(self) -> str:
        kills = "; ".join(f"{victim} {number}" for victim, number in sorted(self.killed.items()))
        return (
            f"{sum(self.killed.values())} kill -9 in {self.seconds:.0f} s: {kills}\n"
            f"acknowledged {self.acknowledged}, lost {self.lost}, double {self.double}\n"
            f"events {self.events}, sealed {self.sealed}, checkpoints {self.checkpoints}, proofs {self.proofs}\n"
            f"{self.exports}\n" + "\n".join(self.wrong or [WELL])
        )


def prove(folder: Path, victims: Mapping[str, int], *, kills: int, seed: int) -> Outcome:
    """Run the product on the folder and kill so often under load; the outcome once all is sealed."""
    started = time.monotonic()
    exports = Exports(folder)
    with product(folder, "sealer", EXPORTER) as servers:
        killed, clients = kill_under_load(servers, victims, (INGEST,), kills, Random(seed), around=exports.under_way)
        servers.stop(EXPORTER, "sealer", "scheduler", "jobs")
        connections.close_all()
        exports.finish()
        exports.check(clients)
        servers.stop("web")
        while sealer.seal():
            pass
        return _outcome(clients.deeds, exports, killed, time.monotonic() - started)


def _outcome(deeds: list[Deed], exports: Exports, killed: Counter[str], seconds: float) -> Outcome:
    with psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
        told: dict[str, int] = dict(
            server.execute(
                "SELECT target_id, count(*) FROM audit_auditevent WHERE action = 'memory.session.ingested' GROUP BY 1"
            ).fetchall()
        )
        [(events, sealed)] = server.execute(
            "SELECT (SELECT count(*) FROM audit_auditevent), (SELECT count(*) FROM audit_sealing_leaf)"
        ).fetchall()
        organizations = server.execute("SELECT DISTINCT organization_id FROM audit_auditevent").fetchall()
    checked = Checked()
    for (organization_id,) in organizations:
        checked.look_at(organization_id)
    checked.look_at_the_log()
    return Outcome(
        killed=killed,
        seconds=seconds,
        acknowledged=sum(deed.is_acknowledged for deed in deeds),
        lost=sum(deed.is_acknowledged and deed.session not in told for deed in deeds),
        double=sum(number > 1 for number in told.values()),
        events=events,
        sealed=sealed,
        checkpoints=checked.checkpoints,
        proofs=checked.proofs,
        exports=exports,
        wrong=checked.wrong + exports.wrong,
    )


class Checked:
    """Everything that is proved, checked with the program that customers run."""

    def __init__(self) -> None:
        self.program: Any = program()
        public = [{"public_key": one["public_key"], "state": one["state"]} for one in keys.published()]
        self.keys = self.program.Keys({"keys": public})
        self.checkpoints = self.proofs = 0
        self.entries: dict[int, bytes] = {}
        self.wrong: list[str] = []

    def look_at(self, organization_id: UUID) -> None:
        """One organization's events, leaves, checkpoints and proofs."""
        with scope(organization_id):
            self.wrong += [f"{organization_id}: {one}" for one in self._wrong()]

    def _wrong(self) -> Iterator[str]:
        bodies = dict(AuditEvent.objects.values_list("id", "body"))
        leaves = selectors.leaves(0, 10**9)
        if [leaf.seq for leaf in leaves] != list(range(len(bodies))):
            yield "the places have gaps, or are not as many as the events"
        if len({leaf.event_id for leaf in leaves} & set(bodies)) != len(bodies):
            yield "an event is not sealed, or twice"
        signed = {one.size: one for one in Checkpoint.objects.order_by("size")}
        tree = Frontier()
        for leaf in leaves:
            tree.extend([leaf_hash(bodies[leaf.event_id].encode())])
            if (one := signed.get(tree.size)) and bytes(one.root) != tree.root:
                yield f"the root of {tree.size} is another"
        for size, one in signed.items():
            found = self.program.checkpoint(one.note, self.keys)
            if (found.is_signed, found.size, found.root) != (True, size, bytes(one.root)):
                yield f"the checkpoint of {size} is not signed"
            self.entries[one.entry] = leaf_hash(one.note.partition("\n\n")[0].encode() + b"\n")
        self.checkpoints += len(signed)
        for leaf in leaves:
            proved = selectors.inclusion_proof(leaf.event_id)
            proof = notes.tlog_proof(proved.index, proved.hashes, proved.note)
            yield from self.program.wrong_event(bodies[leaf.event_id].encode(), proof, self.keys)
        for old, new in pairwise(signed):
            hashes = [notes.encoded(one) for one in selectors.consistency_proof(old, new)]
            document = {"checkpoint": signed[new].note, "hashes": hashes}
            yield from self.program.wrong_growth(signed[old].note, document, self.keys)
        self.proofs += len(leaves) + max(0, len(signed) - 1)

    def look_at_the_log(self) -> None:
        """The log of all has each checkpoint once, and is signed."""
        tree = Frontier()
        tree.extend([self.entries[place] for place in sorted(self.entries)])
        found = self.program.checkpoint(selectors.log_head().note, self.keys)
        if (found.is_signed, found.size, found.root) != (True, tree.size, tree.root):
            self.wrong.append("the log of all is not of the checkpoints")
