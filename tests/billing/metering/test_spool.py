"""The spool keeps every acknowledged event, whoever dies, and is emptied by one shipper a machine."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from billing.metering import services, spool
from billing.metering.meters import COUNTERS, Meter
from billing.metering.models import SpoolPosition, SpoolReject, UsageEvent
from billing.metering.services import Use, shipping
from tenancy.scope import scope
from tests.factories import Tenant
from tests.forks import Fork
from tests.live import ROOT
from tests.raw import connect
from tests.threads import at_once

Counting = Callable[..., Use]


def stored(tenant: Tenant) -> set[str]:
    """The ids of the tenant's stored events."""
    with scope(tenant.organization):
        return {str(pk) for pk in UsageEvent.objects.values_list("pk", flat=True)}


def lines(folder: Path) -> list[bytes]:
    """Every line in the folder's segments."""
    return [line for path in sorted(folder.glob("*.usage")) for line in written(path).splitlines()]


def written(path: Path) -> bytes:
    """What a segment holds, without the room that is left in it."""
    return path.read_bytes().rstrip(b"\0")


WRITER = """
import sys
from uuid import UUID
from billing.metering.meters import COUNTERS, Meter
from billing.metering.services import Use, spool
ids = list(map(UUID, sys.argv[1:4]))
while True:
    print(spool(Use(*ids, Meter.RECALL)), flush=True)
"""


@pytest.mark.parametrize("kill_after", [1, 250])
def test_a_writer_killed_at_any_moment_loses_nothing_it_acknowledged(
    kill_after: int, folder: Path, committed: Tenant
) -> None:
    ids = (committed.organization.pk, committed.project.pk, committed.key.pk)
    with Fork(WRITER, *ids, USAGE_SPOOL_DIR=str(folder)) as process:
        said = [process.line() for _ in range(kill_after)]
        process.kill()
        said += process.stdout.readlines()
    acknowledged = {line.strip() for line in said if line.endswith("\n")}
    assert len(acknowledged) >= kill_after
    services.ship()
    counted = stored(committed)
    assert counted >= acknowledged
    assert len(counted - acknowledged) <= 1, "spooled, but killed before it could say so"
    assert lines(folder) == []
    assert services.ship() == 0


SHIPPER = """
from billing.metering import spool
from billing.metering.services import shipping
spool.BATCH_BYTES = 2000
store = shipping._store
def say(name, batch):
    stored = store(name, batch)
    print(stored, flush=True)
    return stored
shipping._store = say
shipping.ship()
print("done", flush=True)
"""


def test_a_shipper_killed_at_any_batch_counts_nothing_twice(folder: Path, committed: Tenant, use: Counting) -> None:
    made = {str(services.spool(use())) for _ in range(300)}
    spool.close()
    [name] = [path.name for path in folder.glob("*.usage")]
    for kill_after in (1, 5):
        with Fork(SHIPPER, USAGE_SPOOL_DIR=str(folder)) as process:
            assert "done\n" not in [process.line() for _ in range(kill_after)]
            process.kill()
    assert 0 < len(stored(committed)) < 300
    assert SpoolPosition.objects.get(segment=name).offset > 0
    services.ship()
    assert stored(committed) == made
    assert list(folder.glob("*.usage")) == []
    assert not SpoolPosition.objects.filter(segment=name).exists()


def test_killed_between_forgetting_the_position_and_the_file_counts_nothing_twice(
    folder: Path, committed: Tenant, use: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {str(services.spool(use())) for _ in range(10)}
    spool.close()

    def die(self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", die)
    with pytest.raises(KeyboardInterrupt):
        services.ship()
    monkeypatch.undo()
    assert len(lines(folder)) == 10
    services.ship()
    assert stored(committed) == made
    assert lines(folder) == []


def test_several_shippers_at_once_count_everything_once(folder: Path, committed: Tenant, use: Counting) -> None:
    made = {str(services.spool(use())) for _ in range(500)}
    spool.close()
    shipped = at_once(*[services.ship] * 4)
    assert sum(shipped) == 500
    assert stored(committed) == made


def test_writers_and_shippers_at_once_lose_nothing(
    folder: Path, committed: Tenant, use: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 5_000)

    def write() -> list[str]:
        return [str(services.spool(use())) for _ in range(300)]

    def ship() -> list[str]:
        for _ in range(30):
            services.ship()
        return []

    results = at_once(write, ship, write, ship, write)
    made = {event for result in results for event in result}
    assert len(made) == 900
    services.ship()
    assert stored(committed) == made


def test_a_segment_in_use_is_shipped_and_kept(folder: Path, committed: Tenant, use: Counting) -> None:
    first = services.spool(use())
    assert services.ship() == 1
    [path] = folder.glob("*.usage")
    second = services.spool(use())
    assert list(folder.glob("*.usage")) == [path]
    assert SpoolPosition.objects.get(segment=path.name).offset > 0
    assert services.ship() == 1
    assert stored(committed) == {str(first), str(second)}
    spool.close()
    assert services.ship() == 0
    assert not path.exists()
    assert not SpoolPosition.objects.filter(segment=path.name).exists()


FORKER = """
import os, sys, threading
from django.conf import settings
settings.configure(USAGE_SPOOL_DIR=sys.argv[1])
from billing.metering import spool
stop = threading.Event()
written = []
def write():
    while not stop.is_set():
        spool.append(b"parent")
        written.append(1)
thread = threading.Thread(target=write)
thread.start()
for _ in range(40):
    if (child := os.fork()) == 0:
        spool.SEGMENT_BYTES = 4096  # forty whole ones would be 640 MiB of disk
        spool.append(b"child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
print(len(written))
"""


def test_forked_children_write_into_segments_of_their_own_though_threads_write(folder: Path) -> None:
    command = [sys.executable, "-c", FORKER, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    contents = [set(written(path).split()) for path in folder.glob("*.usage")]
    assert sorted(map(sorted, contents)) == [[b"child"]] * 40 + [[b"parent"]]
    assert lines(folder).count(b"parent") == int(done.stdout)


def test_a_torn_last_line_waits_for_its_rest(folder: Path, committed: Tenant, use: Counting) -> None:
    services.spool(use())
    spool.close()
    [path] = folder.glob("*.usage")
    whole = written(path)
    with path.open("rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        writer.seek(len(whole) - 5)
        writer.write(bytes(5))
        writer.flush()
        assert services.ship() == 0
        writer.seek(len(whole) - 5)
        writer.write(whole[-5:])
        writer.flush()
        assert services.ship() == 1
    assert len(stored(committed)) == 1


def test_a_line_whose_newline_is_seen_before_its_text_waits_for_it(
    folder: Path, committed: Tenant, use: Counting
) -> None:
    services.spool(use())
    spool.close()
    [path] = folder.glob("*.usage")
    whole = written(path)
    with path.open("rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        writer.seek(40)
        writer.write(bytes(20))
        writer.flush()
        assert services.ship() == 0
        assert not SpoolReject.objects.filter(segment=path.name).exists()
        writer.seek(0)
        writer.write(whole)
        writer.flush()
        assert services.ship() == 1
    assert len(stored(committed)) == 1


def test_a_hole_that_damage_left_costs_its_own_line_alone(folder: Path, committed: Tenant, use: Counting) -> None:
    made = [str(services.spool(use())) for _ in range(3)]
    spool.close()
    [path] = folder.glob("*.usage")
    with path.open("rb+") as writer:
        writer.seek(len(written(path)) // 2)
        writer.write(bytes(20))
    assert services.ship() == 2
    assert stored(committed) == {made[0], made[2]}
    assert SpoolReject.objects.filter(segment=path.name).count() == 1
    assert lines(folder) == []


def test_a_full_disk_is_an_error_before_anything_is_counted(
    folder: Path, committed: Tenant, use: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(spool.SpoolFull, match="No space left"):
        services.spool(use())
    monkeypatch.undo()
    last = services.spool(use())
    spool.close()
    services.ship()
    assert stored(committed) == {str(last)}
    assert list(folder.glob("*.usage")) == []


def test_an_event_never_finds_the_disk_full_in_the_middle(folder: Path, use: Counting, tenant: Tenant) -> None:
    services.spool(use())
    [path] = folder.glob("*.usage")
    assert path.stat().st_blocks * 512 >= spool.SEGMENT_BYTES


def test_a_shipper_that_takes_a_new_segment_for_a_finished_one_loses_nothing(
    folder: Path, committed: Tenant, use: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def too_late(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        services.ship()  # between the creation of the file and its lock
        lock(descriptor, operation)

    services.spool(use())
    spool.close()
    monkeypatch.setattr(fcntl, "flock", too_late)
    made = services.spool(use())
    spool.close()
    services.ship()
    assert str(made) in stored(committed)
    assert len(stored(committed)) == 2


def event(tenant: Tenant, **changes: Any) -> dict[str, Any]:
    """A line's content."""
    return {
        "id": str(uuid7()),
        "organization_id": str(tenant.organization.pk),
        "project_id": str(tenant.project.pk),
        "key_id": None,
        "meter": "recall",
        "quantity": 1,
        "end_user": "",
        "at": 1_800_000_000.0,
    } | changes


DAMAGE = {
    "no JSON": b"{{{",
    "empty": b"",
    "bytes": bytes(range(128, 255)),
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "longer than a batch": b"x" * 5000,
    "carriage return": b"\r",
}
WRONG: dict[str, dict[str, Any]] = {
    "no id": {"id": None},
    "another id": {"id": "x"},
    "an id of no time": {"id": "0193a6a0-0000-4000-8000-000000000000"},
    "an id of the far future": {"id": "1193a6a0-0000-7000-8000-000000000000"},
    "a fraction": {"quantity": 1.5},
    "a meter of two columns": {"meter": "a\tb"},
    "a list of end users": {"end_user": ["a"]},
    "an id in braces": {"id": "{0193a6a0-0000-7000-8000-000000000000}"},
    "organization": {"organization_id": "x"},
    "project": {"project_id": 7},
    "key": {"key_id": "x"},
    "meter": {"meter": "m" * 33},
    "no meter": {"meter": ""},
    "meter NUL": {"meter": "a\0"},
    "negative": {"quantity": -1},
    "huge": {"quantity": 2**63},
    "words": {"quantity": "many"},
    "end user": {"end_user": "u" * 256},
    "end user NUL": {"end_user": "a\0b"},
    "no end user": {"end_user": None},
    "never": {"at": "never"},
    "far": {"at": 1e300},
    "before": {"at": -1},
}


def every_damage(tenant: Tenant) -> list[bytes]:
    """A line for each."""
    return [*DAMAGE.values(), *(orjson.dumps(event(tenant, **changes)) for changes in WRONG.values())]


def test_damaged_lines_are_set_aside_and_hold_nothing_up(
    folder: Path, committed: Tenant, use: Counting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool, "BATCH_BYTES", 1500)
    made = {str(services.spool(use()))}
    damage = every_damage(committed)
    for line in damage:
        spool.append(line)
        made.add(str(services.spool(use())))
    spool.close()
    [name] = [path.name for path in folder.glob("*.usage")]
    assert services.ship() == len(made)
    assert stored(committed) == made
    rejects = SpoolReject.objects.filter(segment=name).order_by("offset")
    assert [bytes(reject.line) for reject in rejects] == [line[:4096] for line in damage]
    assert caplog.text.count("metering.line_rejected") == len(rejects)
    assert "many" not in caplog.text
    assert lines(folder) == []


@given(damage=st.lists(st.binary(max_size=60).filter(lambda line: not {0, 10} & set(line)), max_size=4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_stands_between_events_they_are_all_counted(
    damage: list[bytes], folder: Path, committed: Tenant, use: Counting
) -> None:
    before = stored(committed)
    made = {str(services.spool(use()))}
    for line in damage:
        spool.append(line)
        made.add(str(services.spool(use())))
    services.ship()
    assert stored(committed) - before == made


def test_a_segment_that_cannot_be_stored_does_not_keep_the_others(
    folder: Path, committed: Tenant, use: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    poison = services.spool(use(end_user="poison"))
    spool.close()
    last = services.spool(use())
    with connect("superuser") as server:
        server.execute(
            "ALTER TABLE metering_usageevent ADD CONSTRAINT test_poison CHECK (end_user <> 'poison') NOT VALID"
        )
        try:
            with pytest.raises(services.ShipFailed):
                services.ship()
        finally:
            server.execute("ALTER TABLE metering_usageevent DROP CONSTRAINT test_poison")
    assert "metering.ship_failed" in caplog.text
    assert stored(committed) == {str(last)}
    services.ship()
    assert stored(committed) == {str(last), str(poison)}


def test_a_spool_that_two_machines_share_is_refused(folder: Path, committed: Tenant, use: Counting) -> None:
    services.spool(use())
    [path] = folder.glob("*.usage")
    services.ship()
    services.spool(use())
    SpoolPosition.objects.filter(segment=path.name).update(offset=1)
    with pytest.raises(services.ShipFailed, match="USAGE_SPOOL_DIR"):
        shipping._store(path.name, spool.Batch(5, 9, [b"{}"]))
    assert not SpoolReject.objects.filter(segment=path.name).exists()


def test_an_empty_spool_ships_nothing(folder: Path, tenant: Tenant) -> None:
    assert services.ship() == 0


@given(
    end_user=st.text(max_size=255).filter(lambda text: "\0" not in text),
    quantity=st.integers(0, 2**53 - 1),
    meter=st.sampled_from(sorted(COUNTERS)),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_an_event_is_stored_as_it_was_spooled(
    end_user: str, quantity: int, meter: Meter, folder: Path, tenant: Tenant, use: Counting
) -> None:
    made = services.spool(use(meter, quantity=quantity, end_user=end_user))
    services.ship()
    with scope(tenant.organization):
        kept = UsageEvent.objects.get(pk=made)
        assert (kept.end_user, kept.quantity, kept.meter) == (end_user, quantity, meter.value)
        assert (kept.project_id, kept.key_id) == (tenant.project.pk, tenant.key.pk)
        assert kept.written_by < 0, "its own transaction added it to the sums"
