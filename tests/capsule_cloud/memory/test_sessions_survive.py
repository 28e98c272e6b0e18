"""A worker that is killed loses nothing that it acknowledged."""

import pytest

from capsule_cloud.memory.models import Capsule, Session, Turn
from tenancy.scope import scope
from tests.capsule_cloud.memory.conversations import ingest, seal
from tests.factories import Tenant, make_tenant
from tests.forks import Fork

# Acknowledges each turn on its standard output, for ever.
WORKER = """
import sys
from uuid import UUID
from capsule_cloud.memory.services.sessions import TurnPair, ingest
from tenancy.audit.services import SYSTEM
organization_id, project_id = map(UUID, sys.argv[1:])
for n in range(10**9):
    turns = [TurnPair(f"question {n}", f"answer {n}"), TurnPair(f"more {n}", f"and more {n}")]
    result = ingest(
        organization_id=organization_id, project_id=project_id, session_id=f"s{n // 50}", turns=turns, actor=SYSTEM
    )
    print(f"s{n // 50}", result.turn_id, flush=True)
"""


@pytest.fixture
def committed(transactional_db: None) -> Tenant:
    """An organization that other processes can see."""
    return make_tenant()


@pytest.mark.parametrize("acknowledged", [1, 70, 133])
def test_a_killed_worker_loses_nothing_that_it_acknowledged(committed: Tenant, acknowledged: int) -> None:
    with Fork(WORKER, committed.organization.pk, committed.project.pk) as worker:
        lines = [worker.line() for _ in range(acknowledged)]
        worker.kill()
        lines += worker.stdout.readlines()

    told = [(name, int(number)) for name, number in (line.split() for line in lines if line.endswith("\n"))]
    assert len(told) >= acknowledged
    with scope(committed.organization):
        kept = {
            (name, number): content
            for name, number, content in Turn.objects.values_list("session__external_id", "number", "content")
        }
        for n, (name, number) in enumerate(told):
            assert [kept[name, number + k] for k in range(4)] == [
                f"question {n}",
                f"answer {n}",
                f"more {n}",
                f"and more {n}",
            ]
        for session in Session.objects.all():
            numbers = sorted(number for name, number in kept if name == session.external_id)
            assert numbers == list(range(1, session.turn_count + 1))
            assert len(numbers) % 4 == 0  # a batch is there whole, or not at all
        unsaid = {name for name, _ in kept} - {name for name, _ in told}
        assert len(unsaid) <= 1  # the one call that was under way

    # and the session goes on elsewhere
    last = told[-1][0]
    total = ingest(committed, last).total_turns
    assert seal(committed, last).turn_count == total
    with scope(committed.organization):
        assert Capsule.objects.count() == 1
