"""The sealer: every event once, in one gap-free sequence, whatever writers and clocks do."""

import pytest

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing import notes, sealer, selectors
from tenancy.audit.sealing.merkle import Frontier, leaf_hash
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.services import SYSTEM, Target, record
from tenancy.scope import scope
from tests.factories import Tenant, make_tenant
from tests.sealing import seal_all

pytestmark = pytest.mark.django_db(transaction=True)


def write(tenant: Tenant, count: int) -> None:
    """So many events, one transaction."""
    with scope(tenant.organization):
        for number in range(count):
            record(action=actions.PROJECT_UPDATED, actor=SYSTEM, target=Target("project", str(number), f"P {number}"))


def assert_whole(tenant: Tenant) -> int:
    """Every event sealed once, without a gap, and the checkpoint is the tree of the bodies; returns the size."""
    with scope(tenant.organization):
        bodies = dict(AuditEvent.objects.values_list("id", "body"))
        leaves = selectors.leaves(0, 10**9)
        checkpoint = selectors.latest_checkpoint()
        assert checkpoint is not None
        assert [leaf.seq for leaf in leaves] == list(range(len(bodies)))
        assert {leaf.event_id for leaf in leaves} == set(bodies)
        assert [bytes(leaf.hash) for leaf in leaves] == [leaf_hash(bodies[leaf.event_id].encode()) for leaf in leaves]
        tree = Frontier()
        tree.extend([bytes(leaf.hash) for leaf in leaves])
        assert (checkpoint.size, bytes(checkpoint.root)) == (tree.size, tree.root)
        assert checkpoint.note.startswith(notes.checkpoint_text(selectors.organization_origin(), tree.size, tree.root))
        return tree.size


def test_events_are_sealed_in_the_order_of_their_transactions() -> None:
    tenant = make_tenant()
    sealer.seal()
    size = assert_whole(tenant)
    write(tenant, 300)
    assert sealer.seal(batch=100) >= 300
    assert assert_whole(tenant) == size + 300
    with scope(tenant.organization):
        ids = list(Leaf.objects.order_by("seq").values_list("event_id", flat=True))
        assert ids == sorted(ids)


def test_a_test_s_own_events_can_be_sealed() -> None:
    tenant = make_tenant()
    write(tenant, 3)
    seal_all()
    assert_whole(tenant)
