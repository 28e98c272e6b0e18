"""Every format holds every event as it is, proves itself, and survives whatever ends its writer."""

import csv
import errno
import gzip
import hashlib
import io
import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard
from django.utils import timezone

from capsule_cloud.lib import storage
from tenancy.audit.exports import files, reading, rows, services, tidying, turns, writing
from tenancy.audit.exports.models import Export
from tenancy.audit.exports.services import Wish
from tenancy.audit.sealing.models import Leaf
from tenancy.errors import Conflict, Invalid, LimitReached
from tenancy.scope import scope
from tenancy.services import projects
from tests.factories import Tenant
from tests.tenancy.audit.exports.exported import (
    ask,
    bodies,
    file_of,
    folder_of,
    fresh,
    make_trail,
    write,
    wrongs,
)
from tests.trail import audited

# An id without a time for every other event
TIMELESS = "CASE WHEN seq & 1 = 0 THEN uuid_extract_timestamp(event_id) END"
# As if these were deleted
KEPT = "AND NOT %(first)s + place BETWEEN {0.start} AND {0.stop} - 1"
KINDS = [(form, how) for form in ("jsonl", "csv") for how in ("none", "gzip", "zstd")] + [("parquet", "none")]


def unpacked(path: Path) -> bytes:
    """What is in an event file, without its compression."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(raw)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw), read_across_frames=True).read()
    return raw


def bodies_in(path: Path) -> list[str]:
    """The events of a file of any format."""
    if ".parquet" in path.name:
        return list(pq.read_table(path)["body"].to_pylist())
    text = unpacked(path).decode()
    if ".csv" in path.name:
        return [row["body"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    return text.split("\n")[:-1]


def lines_of(read: rows.Lines) -> list[str]:
    """The events of what was read for JSON Lines."""
    return b"".join(read.pieces).decode().split("\n")[:-1]


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few events at a time, so that a small trail takes several steps, with a point to go on from after each."""
    monkeypatch.setattr(rows, "STEP", 7)
    monkeypatch.setattr(files, "ROW_GROUP", 20)
    monkeypatch.setattr(writing, "BEAT", 0.0)
    monkeypatch.setattr(writing, "SETTLED_EVERY", 0.0)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize(("form", "compression"), KINDS)
def test_every_format_holds_every_event_byte_for_byte_and_proves_it(
    form: str, compression: str, tenant: Tenant, exports_dir: Path
) -> None:
    trail = make_trail(tenant)
    export = write(tenant, Wish(form=form, compression=compression))
    assert (export.state, export.rows, export.percent) == (Export.State.READY, len(trail), 100)
    path = file_of(export, exports_dir)
    assert bodies_in(path) == trail
    assert wrongs(export, exports_dir) == []
    for one in export.files:
        content = (path.parent / one["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (one["bytes"], one["sha256"])
    manifest = json.loads(file_of(export, exports_dir, "manifest").read_text())["manifest"]
    assert (manifest["first"], manifest["count"], manifest["selection"]) == (0, len(trail), None)


def test_columns_say_what_the_events_say_and_no_spreadsheet_computes_them(tenant: Tenant, exports_dir: Path) -> None:
    trail = [json.loads(body) for body in make_trail(tenant)]
    table = pq.read_table(file_of(write(tenant, Wish(form="parquet")), exports_dir)).to_pylist()
    assert [(row["seq"], row["id"], row["recorded_at"], row["action"]) for row in table] == [
        (place, event["id"], event["recorded_at"], event["action"]) for place, event in enumerate(trail)
    ]
    assert [row["actor_id"] for row in table] == [event["actor"]["id"] for event in trail]
    text = unpacked(file_of(write(tenant, Wish(form="csv")), exports_dir)).decode()
    cells = list(csv.DictReader(io.StringIO(text, newline="")))
    for shown, plain in zip(cells, table, strict=True):
        for name in ("action", "actor_id", "target_id"):
            is_formula = plain[name][:1] in {"=", "+", "-", "@", "\t", "\r"} and plain[name]
            assert shown[name] == ("'" + plain[name] if is_formula else plain[name])
    assert any(row["actor_id"].startswith("'=HYPERLINK") for row in cells)


def test_an_export_of_nothing_is_a_file_of_nothing(tenant: Tenant, exports_dir: Path) -> None:
    make_trail(tenant)
    export = write(tenant, Wish(action="nothing.like.this"))
    assert (export.state, export.rows) == (Export.State.READY, 0)
    assert file_of(export, exports_dir).read_bytes() == b""
    assert wrongs(export, exports_dir) == []


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_filters_choose_as_search_does_and_what_is_chosen_proves_itself(
    form: str, tenant: Tenant, exports_dir: Path
) -> None:
    trail = make_trail(tenant)
    export = write(tenant, Wish(form=form, action="organization.project.updated"))
    wanted = [body for body in trail if json.loads(body)["action"] == "organization.project.updated"]
    assert bodies_in(file_of(export, exports_dir)) == wanted
    assert wrongs(export, exports_dir) == []
    manifest = json.loads(file_of(export, exports_dir, "manifest").read_text())["manifest"]
    assert manifest["selection"] == {"action": "organization.project.updated"}


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("gone", [range(10), range(3, 12)])
def test_events_whose_time_is_over_are_left_out_and_the_rest_proves_itself(
    gone: range, tenant: Tenant, exports_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = make_trail(tenant)
    monkeypatch.setattr(
        rows, "_STATEMENT", rows._STATEMENT.replace("ON e.id = event_id", f"ON e.id = event_id {KEPT.format(gone)}")
    )
    export = write(tenant)
    left = [body for place, body in enumerate(trail) if place not in gone]
    assert bodies_in(file_of(export, exports_dir)) == left
    assert wrongs(export, exports_dir) == []
    manifest = json.loads(file_of(export, exports_dir, "manifest").read_text())["manifest"]
    assert (manifest["first"], manifest["selection"] is None) == (0 if gone.start else gone.stop, not gone.start)


def test_a_range_of_time_is_a_whole_part_of_the_trail(tenant: Tenant, exports_dir: Path) -> None:
    older = make_trail(tenant, 5)
    now = timezone.now()
    trail = make_trail(tenant, 5, starts=5)
    export = write(tenant, since=now)
    assert bodies_in(file_of(export, exports_dir))[-5:] == trail[-5:]
    assert wrongs(export, exports_dir) == []
    assert bodies_in(file_of(write(tenant, until=now), exports_dir))[: len(older)] == older
    assert write(tenant, until=now.replace(year=2000)).rows == 0
    with scope(tenant.organization), pytest.raises(Invalid, match="after"):
        services.request(actor=tenant.actor, wish=Wish(), since=now, until=now)


@pytest.mark.parametrize("way", ["near", "far but few between", "far and many between"])
def test_events_come_in_the_order_of_their_seals_however_they_are_found(
    way: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbours are read in one go; where an event was sealed long after its time, each is looked up."""
    trail = make_trail(tenant, 20)
    monkeypatch.setattr(rows, "TOGETHER", 7)
    if way != "near":
        monkeypatch.setattr(rows, "LONGEST_TRANSACTION", timedelta(days=-1))
    if way == "far and many between":
        monkeypatch.setattr(rows, "_are_neighbours", lambda *_: False)
    with scope(tenant.organization):
        read, table = rows.lines(0, len(trail)), rows.columns(0, len(trail))
        some = rows.lines(3, 9, [4, 8])
        hashes = [bytes(leaf.hash) for leaf in Leaf.objects.order_by("seq")]
    assert lines_of(read) == trail == table.table["body"].to_pylist()
    assert list(read.places) == list(table.places) == list(range(len(trail)))
    assert bytes(read.hashes) == bytes(table.hashes) == b"\x80".join(hashes)
    assert (lines_of(some), list(some.places)) == ([trail[4], trail[8]], [4, 8])


def test_events_whose_ids_say_no_time_are_looked_up(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = make_trail(tenant, 20)
    monkeypatch.setattr(rows, "_STATEMENT", rows._STATEMENT.replace("uuid_extract_timestamp(event_id)", TIMELESS))
    with scope(tenant.organization):
        assert lines_of(rows.lines(0, len(trail))) == trail


def test_rows_that_come_in_any_order_are_put_into_the_order_of_the_seals(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL is free to hand them over in whatever order it found them."""
    trail = make_trail(tenant, 20)
    backwards = "FROM (SELECT * FROM leaves ORDER BY place DESC OFFSET 0) AS leaves JOIN"
    monkeypatch.setattr(rows, "_STATEMENT", rows._STATEMENT.replace("FROM leaves JOIN", backwards))
    monkeypatch.setattr(rows, "_NEAR", "")
    monkeypatch.setattr(rows, "TOGETHER", 7)
    with scope(tenant.organization):
        read, table = rows.lines(0, len(trail)), rows.columns(0, len(trail))
    assert lines_of(read) == trail == table.table["body"].to_pylist()
    assert table.table["id"].to_pylist() == [json.loads(body)["id"] for body in trail]


def test_people_are_named_in_a_file_beside_the_events_and_nowhere_else(tenant: Tenant, exports_dir: Path) -> None:
    with scope(tenant.organization):
        projects.create(actor=tenant.actor, name="Named")
    make_trail(tenant, 1)
    export = write(tenant)
    named = file_of(export, exports_dir, "names").read_text()
    assert tenant.owner.email in named
    assert tenant.owner.email not in file_of(export, exports_dir).read_text()
    [row] = [one for one in csv.DictReader(io.StringIO(named)) if one["value"] == tenant.owner.email]
    assert row["pseudonym"] in file_of(export, exports_dir).read_text()
    without = write(tenant, Wish(has_people=False))
    assert [one["holds"] for one in without.files] == ["events", "hashes", "manifest"]


def test_one_organization_s_export_holds_nothing_of_another_s(
    tenant: Tenant, stranger: Tenant, exports_dir: Path
) -> None:
    make_trail(tenant, 3)
    make_trail(stranger, 3)
    for form in ("jsonl", "csv", "parquet"):
        export = write(tenant, Wish(form=form))
        found = bodies_in(file_of(export, exports_dir))
        assert {json.loads(body)["organization_id"] for body in found} == {str(tenant.organization.pk)}
        assert len(found) == len(bodies(tenant))


# --- Bad days ---------------------------------------------------------------------------------------------------------


def die(*_: object, **__: object) -> None:
    raise SystemExit("killed")  # nothing here catches it


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize(("form", "compression"), KINDS)
def test_a_writer_that_was_killed_is_followed_by_another_which_goes_on(
    form: str, compression: str, tenant: Tenant, exports_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = make_trail(tenant)
    export = ask(tenant, Wish(form=form, compression=compression))
    real, read = reading.Reader.read, []

    def dying(self: Any, start: int, end: int) -> Any:
        read.append(start)
        if start == 21 and len(read) < 5:
            die()
        return real(self, start, end)

    monkeypatch.setattr(reading.Reader, "read", dying)
    turn = turns.claim()
    assert turn is not None
    with pytest.raises(SystemExit):
        writing.attend(turn)
    assert fresh(tenant, export).files == []
    assert not list(exports_dir.glob("kept/**/*"))
    assert turns.claim() is None  # it still has its lease
    path = writing.folder_of(export.pk) / "events"
    if form != "parquet":
        with path.open("ab") as file:
            file.write(b"half a li")  # what it wrote and nobody knows to be on disk
    with scope(tenant.organization):
        Export.objects.filter(pk=export.pk).update(leased_until=timezone.now())
    turn = turns.claim()
    assert turn is not None
    writing.attend(turn)
    assert read.count(0) == (2 if form == "parquet" else 1)
    done = fresh(tenant, export)
    assert done.state == Export.State.READY
    assert bodies_in(file_of(done, exports_dir)) == trail
    assert wrongs(done, exports_dir) == []
    assert not writing.folder_of(export.pk).exists()


def test_a_writer_that_only_slept_writes_no_more_and_offers_nothing(
    tenant: Tenant, exports_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(tenant)
    export = ask(tenant)
    slow = turns.claim()
    assert slow is not None
    with scope(tenant.organization):
        Export.objects.filter(pk=export.pk).update(leased_until=timezone.now())
    quick = turns.claim()
    assert quick is not None
    with writing.alone_in(writing.folder_of(export.pk)):
        writing.attend(quick)  # the slow one still has the folder: it waits for its lease to end
    assert fresh(tenant, export).state == Export.State.RUNNING
    writing.attend(slow)
    assert fresh(tenant, export).state == Export.State.RUNNING
    writing.attend(quick)
    assert fresh(tenant, export).state == Export.State.READY


def test_an_export_that_is_cancelled_is_written_no_further(
    tenant: Tenant, exports_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(tenant)
    export = ask(tenant)
    turn = turns.claim()
    with scope(tenant.organization):
        services.cancel(actor=tenant.actor, export_id=export.pk)
    assert turn is not None
    writing.attend(turn)
    assert fresh(tenant, export).state == Export.State.CANCELLED
    assert not list(exports_dir.glob("kept/**/*"))
    done = write(tenant)
    with scope(tenant.organization), pytest.raises(Conflict):
        services.cancel(actor=tenant.actor, export_id=done.pk)


@pytest.mark.usefixtures("small_steps")
def test_a_full_disk_says_so_is_tried_again_and_fails_in_the_end(
    tenant: Tenant, exports_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(tenant)
    export = ask(tenant)
    real = files.Hashed.write

    def full(self: Any, data: Any) -> int:
        if self.size > 4_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(files.Hashed, "write", full)
    for attempt in range(1, writing.MOST_ATTEMPTS + 1):
        turn = turns.claim()
        assert turn is not None
        writing.attend(turn)
        now = fresh(tenant, export)
        assert "disk that exports are written on is full" in now.failure
        assert not writing.folder_of(export.pk).exists()  # room for others
        assert (now.state == Export.State.FAILED) == (attempt == writing.MOST_ATTEMPTS)
        assert turns.claim() is None
        with scope(tenant.organization):
            Export.objects.filter(pk=export.pk).update(due_at=timezone.now())
    with scope(tenant.organization):
        assert len(audited("audit.export.failed")) == 1
    monkeypatch.setattr(files.Hashed, "write", real)
    assert write(tenant).state == Export.State.READY


def test_what_ends_every_writer_is_given_up(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(tenant, 1)
    export = ask(tenant)
    monkeypatch.setattr(writing, "write", die)
    for _ in range(writing.MOST_ATTEMPTS):
        turn = turns.claim()
        assert turn is not None
        with pytest.raises(SystemExit):
            writing.attend(turn)
        with scope(tenant.organization):
            Export.objects.filter(pk=export.pk).update(leased_until=timezone.now())
    turn = turns.claim()
    assert turn is not None
    writing.attend(turn)
    assert fresh(tenant, export).state == Export.State.FAILED


def test_a_mistake_of_ours_is_no_secret_and_no_loop(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(tenant, 1)
    export = ask(tenant)

    def broken(turn: turns.Turn) -> None:
        raise ValueError("inner words")

    monkeypatch.setattr(writing, "write", broken)
    assert writing.work() == 1
    now = fresh(tenant, export)
    assert now.failure == "Something went wrong on our side. It is tried again."
    assert now.due_at > timezone.now()


def test_an_edited_file_is_found_out(tenant: Tenant, exports_dir: Path) -> None:
    make_trail(tenant, 5)
    export = write(tenant)
    path = file_of(export, exports_dir)
    path.write_bytes(path.read_bytes().replace(b"organization.project.updated", b"organization.project.changed", 1))
    assert wrongs(export, exports_dir) != []


def test_organizations_take_turns(tenant: Tenant, stranger: Tenant) -> None:
    make_trail(tenant, 1)
    make_trail(stranger, 1)
    mine = [ask(tenant), ask(tenant)]
    other = ask(stranger)
    first, second = turns.claim(), turns.claim()
    assert first is not None
    assert second is not None
    assert [first.export_id, second.export_id] == [mine[0].pk, other.pk]
    assert turns.claim() is None


def test_only_so_many_are_under_way(tenant: Tenant) -> None:
    for _ in range(services.MOST_UNDER_WAY):
        ask(tenant)
    with pytest.raises(LimitReached):
        ask(tenant)


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (Wish(form="xml"), "format"),
        (Wish(compression="rar"), "compression"),
        (Wish(action="a" * 65), "action"),
        (Wish(actor="\0"), "actor"),
    ],
)
def test_what_no_export_can_be_is_refused(wish: Wish, field: str, tenant: Tenant) -> None:
    with pytest.raises(Invalid) as refused:
        ask(tenant, wish)
    assert refused.value.field == field


# --- The end ----------------------------------------------------------------------------------------------------------


def test_files_end_with_their_time(tenant: Tenant, exports_dir: Path) -> None:
    make_trail(tenant, 1)
    kept, gone = write(tenant), write(tenant)
    with scope(tenant.organization):
        services.delete(actor=tenant.actor, export_id=gone.pk)
    assert tidying.tidy() == 1
    assert fresh(tenant, gone).state == Export.State.EXPIRED
    assert not [path for path in folder_of(gone, exports_dir).glob("*") if path.is_file()]
    assert file_of(kept, exports_dir).exists()
    assert tidying.tidy() == 0


def test_what_killed_workers_left_is_swept(tenant: Tenant, exports_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, fresh_one, orphan = (exports_dir / name for name in ("part/left", "part/fresh", "kept/orphan"))
    for folder in (left, fresh_one, orphan):
        folder.mkdir(parents=True)
        (folder / "events").write_text("x")
    long_ago = time.time() - 40 * 86_400
    for path in (left / "events", left, orphan / "events", orphan):
        os.utime(path, (long_ago, long_ago))
    tidying.tidy()
    assert (left.exists(), fresh_one.exists(), orphan.exists()) == (False, True, False)


def test_a_store_that_is_away_keeps_the_export_waiting(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(tenant, 1)
    export = ask(tenant)

    def away(self: Any, key: str, path: Path) -> None:
        raise storage.StorageError("unanswered", "The store gave no answer.")

    monkeypatch.setattr(storage.Folder, "put", away)
    turn = turns.claim()
    assert turn is not None
    writing.attend(turn)
    now = fresh(tenant, export)
    assert (now.state, now.files, now.failure) == (
        Export.State.RUNNING,
        [],
        "The store gave no answer. It is tried again.",
    )
