"""The program that customers run finds whatever was done to an export, in every format, and says to which event."""

import copy
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenancy.audit.sealing import notes
from tenancy.audit.sealing.merkle import leaf_hash
from tests.tenancy.audit.sealing import made_exports as made_by
from tests.tenancy.audit.sealing.made_exports import FORMATS, Made, Row, event, make_export, note_of, row_of

BODIES = [event(number) for number in range(700)]
every_format = pytest.mark.parametrize(("kind", "compression"), FORMATS, ids=lambda one: one)


@every_format
def test_an_untouched_export_holds(tmp_path: Path, kind: str, compression: str) -> None:
    made = make_export(tmp_path, BODIES, kind=kind, compression=compression)
    assert made.check() == (0, [f"700 events hold, every event from 0 on, of 700 in {made_by.ORIGIN}."])


@pytest.mark.parametrize(("first", "end"), [(0, 1), (0, 256), (1, 700), (255, 257), (300, 301), (511, 513), (699, 700)])
def test_any_part_of_a_trail_proves_itself(tmp_path: Path, first: int, end: int) -> None:
    assert make_export(tmp_path, BODIES, range(first, end)).check()[0] == 0


def test_an_export_of_nothing_holds(tmp_path: Path) -> None:
    assert make_export(tmp_path, BODIES, range(700, 700)).check()[0] == 0


def edited(rows: list[Row]) -> None:
    rows[300] = Row(300, rows[300].body.replace(b'"v":1', b'"v":2'), rows[300].cells)


def dropped(rows: list[Row]) -> None:
    del rows[300]


def inserted(rows: list[Row]) -> None:
    rows.insert(300, row_of(300, event(9_999)))


def doubled(rows: list[Row]) -> None:
    rows.insert(400, rows[300])


def swapped(rows: list[Row]) -> None:
    rows[300], rows[301] = rows[301], rows[300]


def moved(rows: list[Row]) -> None:
    rows.insert(600, rows.pop(300))


def cut(rows: list[Row]) -> None:
    del rows[300:]


SAID: list[tuple[Callable[[list[Row]], None], str, str]] = [
    (edited, "CHANGED", 'event 300 is not what was sealed; it begins b\'{"id":"0198c0de-0000-7000-8000-00000000012c'),
    (dropped, "DROPPED", "event 300 is missing"),
    (inserted, "INSERTED", 'never sealed; it begins b\'{"id":"0198c0de-0000-7000-8000-00000000270f'),
    (doubled, "DOUBLED", "event 300 is there twice"),
    (swapped, "MOVED", "event 301 stands in another place"),
    (moved, "MOVED", "event 300 stands in another place"),
    (cut, "CUT OFF", "the last 400 events are missing, from event 300 on"),
]


@pytest.mark.parametrize("with_forged_manifest", [False, True], ids=["", "forged manifest"])
@every_format
@pytest.mark.parametrize(("touch", "what", "which"), SAID, ids=[one.__name__ for one, _, _ in SAID])
def test_it_says_what_was_done_to_which_event(
    tmp_path: Path,
    touch: Callable[[list[Row]], None],
    what: str,
    which: str,
    kind: str,
    compression: str,
    with_forged_manifest: bool,
) -> None:
    made = make_export(tmp_path, BODIES, kind=kind, compression=compression)
    rows = [row_of(seq, body) for seq, body in enumerate(BODIES)]
    touch(rows)
    made.write(rows)
    if with_forged_manifest:
        made.forge_manifest()
    code, said = made.check()
    assert code == 1
    about_events = [one for one in said if one.startswith(what)]
    assert len(about_events) == 1
    assert which in about_events[0]
    assert ("The manifest was changed" in said[0]) == with_forged_manifest
    assert any("SHA-256" in one for one in said) != with_forged_manifest


def test_several_wrongs_at_once_are_told_apart(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES)
    rows = [row_of(seq, body) for seq, body in enumerate(BODIES)]
    rows[10] = row_of(10, event(5_000))
    del rows[20:23]
    rows.insert(50, row_of(50, event(6_000)))
    del rows[690:]
    made.write(rows)
    said = [one for one in made.check()[1] if one.isupper() or one.partition(":")[0].isupper()]
    assert [one.partition(":")[0] for one in said] == [
        "CHANGED",
        "DROPPED",
        "DROPPED",
        "DROPPED",
        "INSERTED",
        "CUT OFF",
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_beside_the_body_cannot_lie(tmp_path: Path, kind: str) -> None:
    made = make_export(tmp_path, BODIES, kind=kind)
    rows = [row_of(seq, body) for seq, body in enumerate(BODIES)]
    rows[5].cells["actor_id"] = "somebody else"
    made.write(rows)
    made.forge_manifest()
    [said] = [one for one in made.check()[1] if one.startswith("CHANGED")]
    assert said.endswith(" 6: the column actor_id is not what event 5 says.")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_place_beside_an_event_cannot_lie(tmp_path: Path, kind: str) -> None:
    made = make_export(tmp_path, BODIES, kind=kind)
    rows = [row_of(seq, body) for seq, body in enumerate(BODIES)]
    rows[5] = Row(6, rows[5].body, rows[5].cells)
    made.write(rows)
    made.forge_manifest()
    assert made.check()[1][-1].endswith("the column seq is not what event 5 says.")


def test_a_column_of_ours_is_held_by_the_file_s_sum_alone(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES, kind="csv")
    rows = [row_of(seq, body) for seq, body in enumerate(BODIES)]
    rows[5].cells["actor_name"] = "Somebody Else"
    made.write(rows)
    assert made.check() == (1, ["trail.csv is not the file that the manifest names (SHA-256)."])


# --- What only a checkpoint from earlier shows ---


def kept(tmp_path: Path, note: str) -> Path:
    path = tmp_path / "kept.txt"
    path.write_text(note)
    return path


@pytest.mark.parametrize("size", [1, 255, 256, 300, 699, 700])
def test_a_checkpoint_from_earlier_fits(tmp_path: Path, size: int) -> None:
    assert make_export(tmp_path, BODIES).check(kept(tmp_path, note_of(BODIES[:size])))[0] == 0


def test_a_trail_that_was_rewritten_is_told_by_the_checkpoint_that_was_kept(tmp_path: Path) -> None:
    rewritten = [*BODIES[:100], event(9_999), *BODIES[101:]]
    made = make_export(tmp_path, rewritten)
    assert made.check()[0] == 0  # whoever has the key can sign what they like, for those who kept nothing
    [said] = made.check(kept(tmp_path, note_of(BODIES[:200])))[1]
    assert said == "REWRITTEN: the first 200 events are not those of the checkpoint that you kept."
    assert made.check(kept(tmp_path, note_of(BODIES[:100])))[0] == 0


def test_a_trail_that_lost_its_end_is_told_by_the_checkpoint_that_was_kept(tmp_path: Path) -> None:
    [said] = make_export(tmp_path, BODIES[:500]).check(kept(tmp_path, note_of(BODIES)))[1]
    assert said == "CUT OFF: you keep a checkpoint of 700 events, this export is of a trail of 500."


def test_a_part_proves_by_its_own_consistency_proof_that_it_goes_on_from_the_export_before(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES, range(600, 700), since=333)
    assert made.check(kept(tmp_path, note_of(BODIES[:333])))[0] == 0
    [said] = made.check(kept(tmp_path, note_of(BODIES[:334])))[1]
    assert "from=334&to=700" in said
    [said] = made.check(kept(tmp_path, note_of([event(9_999), *BODIES[1:333]])))[1]
    assert said == "REWRITTEN: the first 333 events are not those of the checkpoint that you kept."


def test_a_checkpoint_of_another_log_or_key_is_told(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES)
    other = made_by.new_signer()
    assert "not signed" in made.check(kept(tmp_path, note_of(BODIES, other)))[1][0]
    assert "another log" in made.check(kept(tmp_path, note_of(BODIES, origin="elsewhere.example.com")))[1][0]


# --- Keys ---


def test_a_wrong_key_is_told(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES, signer=made_by.new_signer())
    code, said = made.check()
    assert code == 1
    assert [one.partition(",")[0] for one in said] == ["The manifest was changed", "The checkpoint was changed"]


def test_a_retired_key_verifies_and_a_stolen_one_does_not(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES)
    made_by.publish(made.keys, made_by.SIGNER, made_by.new_signer(), state="replaced")
    assert made.check()[0] == 0
    made_by.publish(made.keys, made_by.SIGNER, state="stolen")
    assert made.check()[0] == 1


# --- Whatever is done to the bytes ---


def verdict_after(made: Made, path: Path, content: bytes) -> int:
    """How it ends with other bytes in a file; the file is put right afterwards."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        return made.check()[0]
    finally:
        path.write_bytes(before)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> list[Made]:
    """One of every format, a part of a trail."""
    bodies = BODIES[:90]
    return [
        make_export(
            tmp_path_factory.mktemp(f"{kind}-{how}"), bodies, range(20, 70), kind=kind, compression=how, since=7
        )
        for kind, how in FORMATS
    ]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_byte_can_be_changed(exports: list[Made], data: st.DataObject) -> None:
    made = data.draw(st.sampled_from(exports))
    path = data.draw(st.sampled_from([made.data, made.hashes, made.manifest]))
    content = bytearray(path.read_bytes())
    action = data.draw(st.sampled_from(["flip", "cut", "insert", "remove"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if action == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    elif action == "cut":
        del content[at:]
    elif action == "insert":
        content.insert(at, data.draw(st.integers(0, 255)))
    else:
        del content[at]
    if path != made.manifest or not is_same_json(path.read_bytes(), bytes(content)):
        assert verdict_after(made, path, bytes(content)) != 0


def is_same_json(one: bytes, other: bytes) -> bool:
    """Blanks between tokens say nothing."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except (ValueError, RecursionError):
        return False


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_event_can_be_touched_whatever_the_manifest_says_then(data: st.DataObject) -> None:
    """Somebody without the key changes events, and the hashes file and the manifest to fit."""
    kind, compression = data.draw(st.sampled_from(FORMATS))
    bodies = BODIES[:60]
    with tempfile.TemporaryDirectory() as folder:
        made = make_export(Path(folder), bodies, range(10, 50), kind=kind, compression=compression)
        rows = [row_of(seq, bodies[seq]) for seq in range(10, 50)]
        changed = copy.copy(rows)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(changed) - 1))
            touch: Any = data.draw(st.sampled_from(["edit", "drop", "insert", "double", "move"]))
            if touch == "edit":
                changed[at] = row_of(changed[at].seq, event(data.draw(st.integers(1_000, 2_000))))
            elif touch == "drop" and len(changed) > 1:
                del changed[at]
            elif touch == "insert":
                changed.insert(at, row_of(at, event(data.draw(st.integers(1_000, 2_000)))))
            elif touch == "double":
                changed.insert(data.draw(st.integers(0, len(changed))), changed[at])
            else:
                changed.insert(data.draw(st.integers(0, len(changed) - 1)), changed.pop(at))
        if [row.body for row in changed] == [row.body for row in rows]:
            return
        made.write(changed)
        if data.draw(st.booleans()):
            records = made.hashes.read_bytes()
            start = records.index(b"\x80" + leaf_hash(bodies[10]))
            end = records.index(b"\x80" + leaf_hash(bodies[49])) + 33
            fitting = b"".join(b"\x80" + leaf_hash(row.body) for row in changed)
            made.hashes.write_bytes(records[:start] + fitting + records[end:])
        made.forge_manifest(count=len(changed))
        code, said = made.check()
        assert code == 1, said
        assert len([one for one in said if "manifest was changed" not in one]) > 0, "the tree alone shows it"


def test_a_manifest_that_leaves_events_out_is_told(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES)
    records = made.hashes.read_bytes()
    made.hashes.write_bytes(
        b"".join([records[: 33 * 10], b"\x00" + records[33 * 10 + 1 : 33 * 11], records[33 * 11 :]])
    )
    rows = [row_of(seq, body) for seq, body in enumerate(BODIES) if seq != 10]
    made.write(rows)
    made.forge_manifest()
    assert "The manifest says 700 events from 0 on, trail.hashes has 699." in made.check()[1]


def test_a_damaged_hashes_file_is_told(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES)
    records = made.hashes.read_bytes()
    made.hashes.write_bytes(records[: 33 * 7] + b"\x05" + records[33 * 7 + 1 :])
    code, said = made.check()
    assert code == 1
    assert "trail.hashes is damaged." in said


@pytest.mark.parametrize("gone", ["data", "hashes"])
def test_a_missing_file_is_told(tmp_path: Path, gone: str) -> None:
    made = make_export(tmp_path, BODIES)
    getattr(made, gone).unlink()
    code, said = made.check()
    assert code == 1
    assert any("is missing" in one for one in said)


def test_files_that_are_none_end_with_two(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES)
    for text in ("", "{}", "[]", "null", '{"manifest": {}, "manifest": {}}', "[" * 100_000):
        made.manifest.write_text(text)
        assert made.check()[0] == 2


def test_no_file_outside_the_folder_is_read(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES)
    made.forge_manifest(hashes={"name": "../trail.hashes", "bytes": 1, "sha256": ""})
    assert made.check() == (2, ["'../trail.hashes' is no file beside the manifest."])


# --- One event, and growth ---


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 700])
def test_one_event_proves_itself(tmp_path: Path, size: int) -> None:
    tree, note = made_by.tree_of(BODIES[:size]), note_of(BODIES[:size])
    keys = verifier_keys()
    for index in {0, size // 2, size - 1}:
        proof = notes.tlog_proof(index, tree.inclusion(index), note)
        assert list(made_by.verifier.wrong_event(BODIES[index] + b"\n", proof, keys)) == []
        assert list(made_by.verifier.wrong_event(BODIES[index] + b" ", proof, keys)) != []
        other = notes.tlog_proof((index + 1) % max(size, 2), tree.inclusion(index), note)
        assert list(made_by.verifier.wrong_event(BODIES[index], other, keys)) != []


def verifier_keys() -> Any:
    return made_by.verifier.Keys({"keys": [{"public_key": notes.encoded(made_by.SIGNER.public), "state": "signs"}]})


@given(sizes=st.tuples(st.integers(0, 700), st.integers(1, 700)))
@settings(deadline=None, max_examples=100)
def test_growth_is_proved_and_a_rewriting_is_not(sizes: tuple[int, int]) -> None:
    old, new = sorted(sizes)
    proof = [notes.encoded(one) for one in made_by.tree_of(BODIES[:new]).consistency(old)]
    document = {"checkpoint": note_of(BODIES[:new]), "hashes": proof}
    assert list(made_by.verifier.wrong_growth(note_of(BODIES[:old]), document, verifier_keys())) == []
    if old:
        rewritten = [event(9_999), *BODIES[1:old]]
        told = list(made_by.verifier.wrong_growth(note_of(rewritten), document, verifier_keys()))
        assert [one.partition(":")[0] for one in told] == ["REWRITTEN"]


# --- The command ---


def test_the_program_runs_by_itself(tmp_path: Path) -> None:
    made = make_export(tmp_path, BODIES)
    command = [sys.executable, "-I", str(made_by.PROGRAM), "export", str(made.manifest), "--keys", str(made.keys)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("700 events hold")
    made.data.write_bytes(b"".join(body.replace(b'"v":1', b'"v":3') + b"\n" for body in BODIES))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("… and ")
    made.manifest.write_bytes(gzip.compress(b"x"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("This cannot be checked")
