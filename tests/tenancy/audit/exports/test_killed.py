"""A real process writes an export and is killed with SIGKILL, again and again; what comes out in the end is whole."""

import time
from pathlib import Path

import pytest
from django.utils import timezone

from tenancy.audit.exports import turns, writing
from tenancy.audit.exports.models import Export
from tenancy.audit.exports.services import Wish
from tenancy.audit.sealing import sealer
from tenancy.scope import scope
from tests.factories import make_tenant
from tests.forks import Fork
from tests.tenancy.audit.exports.exported import ask, bodies, file_of, fresh, make_trail, wrongs

KILLS = 2
# A step is slow and small here, so that death comes in the middle of the file
WRITER = """
import time
from tenancy.audit.exports import reading, rows, turns, writing
rows.STEP, writing.BEAT, writing.SETTLED_EVERY = 20, 0.0, 0.0
read, say = reading.Reader.read, turns.Turn.say
def slowly(self, start, end):
    time.sleep(0.05)
    return read(self, start, end)
def aloud(self, **values):
    say(self, **values)
    if "rows" in values:
        print(values["position"], flush=True)
reading.Reader.read, turns.Turn.say = slowly, aloud
turn = turns.claim()
print("claimed" if turn else "nothing", flush=True)
writing.attend(turn)
print("done", flush=True)
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("wish", [Wish(), Wish(form="csv", compression="zstd"), Wish(form="parquet")])
def test_a_writer_that_is_killed_again_and_again_leaves_a_whole_export(wish: Wish, exports_dir: Path) -> None:
    tenant = make_tenant()
    make_trail(tenant, 400)
    sealer.seal()
    trail = bodies(tenant)
    export = ask(tenant, wish)
    with scope(tenant.organization):  # whatever else other tests left is not its business
        Export.objects.filter(pk=export.pk).update(due_at=timezone.now().replace(year=2020))
    for _ in range(KILLS):
        with Fork(WRITER, EXPORTS_DIR=str(exports_dir)) as writer:
            assert writer.line() == "claimed\n"
            for _ in range(5):
                assert writer.line().strip().isdigit()
            writer.kill()
        assert fresh(tenant, export).files == []
        assert not list(exports_dir.glob("kept/*"))
        with scope(tenant.organization):
            Export.objects.filter(pk=export.pk).update(leased_until=timezone.now())
    if wish.form != "parquet":
        assert fresh(tenant, export).settled["position"] >= KILLS * 4 * 20  # each went on where the one before was
    ends_at = time.monotonic() + 60
    while fresh(tenant, export).state != Export.State.READY:
        assert time.monotonic() < ends_at
        turn = turns.claim()
        assert turn is not None
        writing.attend(turn)
    done = fresh(tenant, export)
    assert done.rows == len(trail)
    if wish.form == "jsonl":
        assert file_of(done, exports_dir).read_text().split("\n")[:-1] == trail
    assert wrongs(done, exports_dir) == []
