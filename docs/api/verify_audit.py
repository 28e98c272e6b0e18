#!/usr/bin/env python3
"""Checks exports and proofs of Capsule Memory Cloud's audit trail by itself: no account, no network, none of our code.

    pip install cryptography           # for Parquet also pyarrow, for .zst also zstandard
    curl -O https://YOUR-HOST/.well-known/audit-keys.json
    python verify_audit.py export trail.manifest.json --keys audit-keys.json [--kept checkpoint.txt]
    python verify_audit.py event event.json proof.tlog-proof --keys audit-keys.json
    python verify_audit.py growth checkpoint.txt consistency.json --keys audit-keys.json

The files of an export lie beside its manifest. A checkpoint (c2sp.org/tlog-checkpoint) that you kept from earlier, say
from our daily webhook, also shows whether the trail was rewritten since then, which no single export can.

How it works: an event's hash is SHA-256 of a zero byte and the line itself (RFC 6962). The hashes of all events make a
tree, whose root is in the checkpoint, which is signed (Ed25519). The `.hashes` file has the rest of the tree. If the
root that comes out of it is the signed one, every hash in it is genuine, and each event is compared with its own.
Ends with 0 when all of it holds, with 1 and a sentence for everything that does not, with 2 when it cannot say.
"""

import argparse
import base64
import csv
import functools
import gzip
import hashlib
import io
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Json = dict[str, Any]
FORMAT = "capsule-audit-export/1"
PROOF = "c2sp.org/tlog-proof@v1"
EXPORTED = 0x80  # marks a record of the hashes file whose event is in the export
RECORD = 33  # bytes: what it is, and a hash
GUARDED = ("=", "+", "-", "@", "\t", "\r")  # a CSV cell that begins so gets an apostrophe: no spreadsheet runs it
MOST_SAID = 100  # sentences; the rest is counted


class Unreadable(Exception):
    """The files are not what they should be: nothing can be said of them."""


# --- Trees (RFC 6962, 2.1) ---


def leaf_hash(body: bytes) -> bytes:
    """An event's hash."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Growing:
    """A tree that grows to the right by whole subtrees; it knows a hash for each bit of its size."""

    def __init__(self) -> None:
        self.size, self.stack = 0, list[bytes]()

    def add(self, level: int, node: bytes) -> None:
        """Append a subtree of 2**level leaves, where one can stand: at a multiple of its size."""
        while self.size >> level & 1:
            node = node_hash(self.stack.pop(), node)
            level += 1
        self.stack.append(node)
        self.size = (self.size >> level | 1) << level

    def root(self) -> bytes:
        """Its root."""
        if not self.stack:
            return hashlib.sha256(b"").digest()
        return functools.reduce(lambda right, left: node_hash(left, right), reversed(self.stack))


def half(size: int) -> int:
    """Where a tree of two or more leaves divides: the largest power of two below its size."""
    return 1 << (size - 1).bit_length() - 1


def is_included(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    """Whether the proof leads from the leaf at a place to the root of a tree of that size."""

    def above(index: int, size: int, proof: list[bytes]) -> bytes:
        if size == 1 and not proof:
            return leaf
        *rest, other = proof if size > 1 else []
        if index < half(size):
            return node_hash(above(index, half(size), rest), other)
        return node_hash(other, above(index - half(size), size - half(size), rest))

    try:
        return 0 <= index < size and above(index, size, proof) == root
    except ValueError:  # the proof is too short, or too long
        return False


def is_grown(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """Whether the proof shows that the new tree begins with the old one."""

    def roots(old: int, new: int, proof: list[bytes], is_left: bool) -> tuple[bytes, bytes]:
        if old == new:
            [node] = [old_root, *proof] if is_left else proof
            return node, node
        *rest, other = proof
        if old <= half(new):
            before, after = roots(old, half(new), rest, is_left)
            return before, node_hash(after, other)
        before, after = roots(old - half(new), new - half(new), rest, False)
        return node_hash(other, before), node_hash(other, after)

    try:
        return not proof if old == 0 else old <= new and roots(old, new, proof, True) == (old_root, new_root)
    except ValueError:
        return False


# --- Keys and checkpoints (c2sp.org/signed-note, c2sp.org/tlog-checkpoint) ---


class Keys:
    """The published keys, but those that were stolen: what these signed may be anybody's."""

    def __init__(self, document: Json) -> None:
        keys = [one for one in document["keys"] if one["state"] != "stolen"]
        self.public = [decoded(one["public_key"]) for one in keys]

    def signed(self, name: str, message: bytes, value: bytes) -> bool:
        """Whether `value`, four bytes of a key's id and a signature, is one of these keys' over the message."""
        for public in self.public:
            if value[:4] == hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]:
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(value[4:], message)
                except InvalidSignature:
                    continue
                return True
        return False


class Checkpoint(NamedTuple):
    """What was signed of a trail: whose, how many events, which root."""

    origin: str
    size: int
    root: bytes
    is_signed: bool


def checkpoint(note: str, keys: Keys) -> Checkpoint:
    """Read a signed note. Raises Unreadable."""
    text, gap, signatures = note.partition("\n\n")
    lines = text.split("\n")
    if not gap or len(lines) != 3 or not lines[0] or lines[1] != str(int(lines[1])):
        raise Unreadable("This is no checkpoint: it has an origin, a size and a root, an empty line, and signatures.")
    origin, size, root = lines
    is_signed = False
    for line in signatures.splitlines():
        dash, name, value = line.split(" ")
        if dash == "—" and name == origin:
            is_signed |= keys.signed(origin, f"{text}\n".encode(), decoded(value))
    return Checkpoint(origin, int(size), decoded(root), is_signed)


def decoded(text: str) -> bytes:
    """Base64, written in the one usual way. Raises ValueError."""
    value = base64.b64decode(text, validate=True)
    if base64.b64encode(value).decode() != text:
        raise ValueError(f"{text[:80]!r} is unusual base64")
    return value


def wrong_event(body: bytes, proof: str, keys: Keys) -> Iterator[str]:
    """What does not hold of one event and its `.tlog-proof`; or of a checkpoint and its proof in the log of all."""
    head, _, note = proof.partition("\n\n")
    first, *lines = head.split("\n")
    lines = [line for line in lines if not line.startswith("extra ")]
    if first != PROOF or not lines or not lines[0].startswith("index "):
        raise Unreadable(f"This is no proof: its first line is {PROOF}.")
    found = checkpoint(note, keys)
    if not found.is_signed:
        yield "The checkpoint is not signed by any of the published keys."
    index, path = int(lines[0].removeprefix("index ")), list(map(decoded, lines[1:]))
    # a file may end with a line feed that is not the event's; of a checkpoint the log has what is above the signatures
    bodies = (body, body.removesuffix(b"\n"), body.partition(b"\n\n")[0] + b"\n")
    if not any(is_included(leaf_hash(one), index, found.size, path, found.root) for one in bodies):
        yield "This is not what was sealed: it was changed, or the proof is another's."


def wrong_growth(kept: str, grown: Json, keys: Keys) -> Iterator[str]:
    """What does not hold between a checkpoint that was kept and the newer one of /v1/audit/consistency's answer."""
    old, new = checkpoint(kept, keys), checkpoint(grown["checkpoint"], keys)
    for one in (old, new):
        if not one.is_signed:
            yield f"The checkpoint of {one.size} events is not signed by any of the published keys."
    if old.origin != new.origin:
        yield f"The checkpoints are of two logs: {old.origin} and {new.origin}."
    elif not is_grown(old.size, old.root, new.size, new.root, list(map(decoded, grown["hashes"]))):
        yield f"REWRITTEN: the trail of {new.size} events does not begin with the one of {old.size} that was signed."


# --- An export ---


class Row(NamedTuple):
    """An event of an export: where it stands, its bytes, and in CSV and Parquet what stands beside them."""

    place: str
    body: bytes
    cells: Json | None


class Export:
    """An export's manifest and the files beside it."""

    def __init__(self, path: Path, keys: Keys) -> None:
        whole = json.loads(path.read_bytes())
        self.folder, self.keys, self.document = path.parent, keys, whole
        self.manifest: Json = whole["manifest"]
        if self.manifest["format"] != FORMAT:
            raise Unreadable(f"This is no export: its format is {self.manifest['format']}, not {FORMAT}.")
        self.checkpoint = checkpoint(self.manifest["checkpoint"], keys)
        self.expected: list[bytes] = []  # of the exported events, in order
        self.seqs: list[int] = []  # their places in the trail
        self.roots: dict[int, bytes] = {}  # of the sizes that are asked for

    def wrong(self, kept: list[Checkpoint]) -> Iterator[str]:
        """Everything that does not hold, in sentences."""
        manifest, origin = self.manifest, self.checkpoint.origin
        signature = decoded(self.document["signature"])
        if set(self.document) != {"manifest", "signature"}:
            yield "The manifest has parts that nobody signed."
        if not self.keys.signed(origin, FORMAT.encode() + b"\n" + _canonical(manifest), signature):
            yield "The manifest was changed, or was not signed by any of the published keys."
        if not self.checkpoint.is_signed:
            yield "The checkpoint was changed, or was not signed by any of the published keys."
        if not origin.endswith(f"/{manifest['organization_id']}"):
            yield "The checkpoint is of another organization's trail."
        yield from self._wrong_hashes({one.size for one in kept})
        yield from self._wrong_history(kept)
        yield from self._wrong_events(self._rows())

    def _wrong_hashes(self, sizes: set[int]) -> Iterator[str]:
        """Compute the root, and with it prove every hash that events are compared with."""
        said, seqs, tree = self.manifest["hashes"], self.seqs, Growing()
        path = self._path(said["name"])
        if not path.is_file():
            yield f"{said['name']} is missing: without it nobody can say which events there should be."
            return
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != said["sha256"]:
                yield f"{said['name']} is not the file that the manifest names."
            stream.seek(0)
            while block := stream.read(RECORD * 4096):
                for at in range(0, len(block), RECORD):
                    kind, one = block[at], block[at + 1 : at + RECORD]
                    if tree.size in sizes:
                        self.roots[tree.size] = tree.root()
                    if kind == EXPORTED:
                        seqs.append(tree.size)
                        self.expected.append(one)
                        kind = 0
                    if kind > 62 or len(one) != 32 or tree.size % (1 << kind):
                        yield f"{said['name']} is damaged."
                        return
                    tree.add(kind, one)
        self.roots[tree.size] = tree.root()
        if (tree.size, tree.root()) != (self.checkpoint.size, self.checkpoint.root):
            yield f"{said['name']} is not of the tree that was signed: do not believe what is said below of places."
        first, count = self.manifest["first"], self.manifest["count"]
        is_whole = self.manifest["selection"] is None
        if len(seqs) != count or (count and seqs[0] != first) or (is_whole and count and seqs[-1] != first + count - 1):
            yield f"The manifest says {count} events from {first} on, {said['name']} has {len(seqs)}."

    def _wrong_history(self, kept: list[Checkpoint]) -> Iterator[str]:
        """Compare with checkpoints from earlier: a trail that was rewritten has another root at their size."""
        mine, since = self.checkpoint, self.manifest["since"]
        roots = dict(self.roots)
        if since is not None:
            grown = {"checkpoint": self.manifest["checkpoint"], "hashes": since["consistency"]}
            found = list(wrong_growth(since["checkpoint"], grown, self.keys))
            yield from found
            if not found:
                before = checkpoint(since["checkpoint"], self.keys)
                roots[before.size] = before.root
        for one in kept:
            if not one.is_signed:
                yield f"The checkpoint of {one.size} events that you kept is not signed by any of the published keys."
            if one.origin != mine.origin:
                yield f"The checkpoint that you kept is of another log: {one.origin}."
            elif one.size > mine.size:
                yield f"CUT OFF: you keep a checkpoint of {one.size} events, this export is of a trail of {mine.size}."
            elif one.size not in roots:
                yield f"Cannot say: check /v1/audit/consistency?from={one.size}&to={mine.size} with `growth`."
            elif roots[one.size] != one.root:
                yield f"REWRITTEN: the first {one.size} events are not those of the checkpoint that you kept."

    def _rows(self) -> Iterator[Row | str]:
        """Every event of every file; a sentence where a file is not as it was, or cannot be read."""
        for file in self.manifest["files"]:
            name, path = file["name"], self._path(file["name"])
            if not path.is_file():
                yield f"{name} is missing."
                continue
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != file["sha256"]:
                    yield f"{name} is not the file that the manifest names (SHA-256)."
            try:
                yield from READERS[file["format"]](path, file["compression"])
            except ImportError as missing:
                raise Unreadable(f"{name} cannot be read: install {missing.name}.") from None
            except Exception as broken:  # noqa: BLE001  # of whichever library
                yield f"{name} is damaged or cut off: {broken}"

    def _path(self, name: str) -> Path:
        if "/" in name or "\\" in name or name in {"", ".", ".."}:
            raise Unreadable(f"{name!r} is no file beside the manifest.")
        return self.folder / name

    def _wrong_events(self, rows: Iterator[Row | str]) -> Iterator[str]:
        """Compare with the hashes of the tree. As long as everything is in its place, that is one for each event."""
        expected, at, sha256 = self.expected, 0, hashlib.sha256
        for row in rows:
            if isinstance(row, str):
                yield row
            elif at < len(expected) and sha256(b"\x00" + row.body).digest() == expected[at]:
                if row.cells is not None:
                    yield from _wrong_columns(row, self.seqs[at], self.manifest["columns"])
                at += 1
            else:
                yield from self._wrong_from(at, itertools.chain([row], rows))
                return
        yield from self._wrong_gap(at, len(expected), [], set())

    def _wrong_from(self, reached: int, rows: Iterator[Row | str]) -> Iterator[str]:
        """From the first difference on: which of the rest is known, and where it stands."""
        numbers = {one: number for number, one in enumerate(self.expected)}
        found: list[tuple[Row, int | None]] = []
        for one in rows:
            if isinstance(one, str):
                yield one
            else:
                number = numbers.get(leaf_hash(one.body))
                found.append((one if number is None else Row(one.place, b"", None), number))
        known = [number for _, number in found if number is not None]
        passed, everywhere, unknown = set(range(reached)), set(known), list[Row]()
        following = iter([*known[1:], len(self.expected)])
        for row, number in found:
            if number is None:
                unknown.append(row)
                continue
            later = next(following)
            if number in passed:
                yield f"DOUBLED: {row.place}: event {self.seqs[number]} is there twice."
            elif number < reached or reached <= later < number:
                yield f"MOVED: {row.place}: event {self.seqs[number]} stands in another place than it was sealed in."
            else:
                yield from self._wrong_gap(reached, number, unknown, everywhere)
                unknown, reached = [], number + 1
            passed.add(number)
        yield from self._wrong_gap(reached, len(self.expected), unknown, everywhere)

    def _wrong_gap(self, start: int, end: int, unknown: list[Row], everywhere: set[int]) -> Iterator[str]:
        """Between two events that are in their places: what is missing, and what stands there instead."""
        missing = [number for number in range(start, end) if number not in everywhere]
        changed = min(len(missing), len(unknown))
        for row, number in zip(unknown[:changed], missing[:changed], strict=True):
            said = f"is not what was sealed; it begins {row.body[:50]!r}"
            yield f"CHANGED: {row.place}: event {self.seqs[number]} {said}."
        for row in unknown[changed:]:
            yield f"INSERTED: {row.place}: this event was never sealed; it begins {row.body[:50]!r}."
        dropped = missing[changed:]
        if dropped and dropped[-1] == len(self.expected) - 1 and len(dropped) == len(self.expected) - dropped[0]:
            said = f"the last {len(dropped)} events are missing"
            yield f"CUT OFF: {said}, from event {self.seqs[dropped[0]]} on."
        else:
            for number in dropped:
                yield f"DROPPED: event {self.seqs[number]} is missing."


# --- Files of events ---


def _opened(path: Path, compression: str) -> Any:
    if compression == "zstd":
        import zstandard  # noqa: PLC0415  # only who has such files needs it

        return zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True, closefd=True)
    return gzip.open(path, "rb") if compression == "gzip" else path.open("rb")


def _jsonl(path: Path, compression: str) -> Iterator[Row]:
    name = path.name
    with _opened(path, compression) as raw, io.BufferedReader(raw, 1 << 20) as stream:
        for number, line in enumerate(stream, start=1):
            yield Row(f"{name}, no. {number}", line[:-1] if line[-1:] == b"\n" else line, None)
            if line[-1:] != b"\n":
                raise ValueError("the last line has no end")


def _csv(path: Path, compression: str) -> Iterator[Row]:
    csv.field_size_limit(1 << 27)
    with _opened(path, compression) as raw, io.TextIOWrapper(io.BufferedReader(raw), "utf-8", newline="") as stream:
        for number, cells in enumerate(csv.DictReader(stream, strict=True), start=1):
            if None in cells or None in cells.values():
                raise ValueError(f"record {number} has other columns than the header")
            yield Row(f"{path.name}, no. {number}", cells["body"].encode(), cells)


def _parquet(path: Path, compression: str) -> Iterator[Row]:
    import pyarrow.parquet  # noqa: PLC0415  # only who has such files needs it

    with pyarrow.parquet.ParquetFile(path) as file:
        batches = (batch.to_pylist() for batch in file.iter_batches(batch_size=8192))
        for number, cells in enumerate(itertools.chain.from_iterable(batches), start=1):
            yield Row(f"{path.name}, no. {number}", str(cells["body"]).encode(), cells)


READERS = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}


def _wrong_columns(row: Row, seq: int, columns: dict[str, str | None]) -> Iterator[str]:
    """Columns beside a genuine body say what it says; those that the manifest has no path for are ours alone."""
    event = json.loads(row.body) | {"": seq}
    for name, cell in (row.cells or {}).items():
        path = {"seq": "", "body": None}.get(name, columns.get(name))
        if path is not None:
            value, text = event, "" if cell is None else str(cell)
            for part in path.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if isinstance(value, dict | list):
                text, value = _canonical(json.loads(text)).decode(), _canonical(value).decode()
            said = "" if value is None else value if isinstance(value, str) else json.dumps(value)
            if text != said and not (said.startswith(GUARDED) and text == f"'{said}"):
                yield f"CHANGED: {row.place}: the column {name} is not what event {seq} says."


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def check(options: argparse.Namespace) -> tuple[list[str], str]:
    """What does not hold, and what to say when all of it does. Raises Unreadable, OSError."""
    try:
        keys = Keys(json.loads(options.keys.read_bytes()))
        if options.what == "event":
            proof = options.proof.read_text(encoding="utf-8")
            return list(wrong_event(options.event.read_bytes(), proof, keys)), "The event is in the trail."
        if options.what == "growth":
            document, note = json.loads(options.consistency.read_bytes()), options.kept.read_text(encoding="utf-8")
            return list(wrong_growth(note, document, keys)), "The trail has only grown."
        export = Export(options.manifest, keys)
        kept = [checkpoint(path.read_text(encoding="utf-8"), keys) for path in options.kept]
        found = list(export.wrong(kept))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as broken:
        raise Unreadable(f"This cannot be checked: {type(broken).__name__}: {broken}") from None
    manifest, signed = export.manifest, export.checkpoint
    chosen = manifest["selection"]
    whole = "every event" if chosen is None else f"a selection ({_canonical(chosen).decode()})"
    said = f"{manifest['count']} events hold, {whole} from {manifest['first']} on, of {signed.size} in {signed.origin}."
    return found, said


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    whole = argparse.ArgumentParser(description="Check exports and proofs of an audit trail.")
    ways = whole.add_subparsers(dest="what", required=True)
    export, event, growth = (ways.add_parser(name) for name in ("export", "event", "growth"))
    export.add_argument("manifest", type=Path)
    export.add_argument("--kept", type=Path, action="append", default=[], help="a checkpoint from earlier; repeatable")
    event.add_argument("event", type=Path, help="the event as it was exported: the line itself")
    event.add_argument("proof", type=Path, help="its .tlog-proof")
    growth.add_argument("kept", type=Path, help="the older checkpoint, which you kept")
    growth.add_argument("consistency", type=Path, help="the answer of /v1/audit/consistency")
    for one in (export, event, growth):
        one.add_argument("--keys", type=Path, required=True, help="audit-keys.json, as published")
    return whole


def main(arguments: list[str] | None = None) -> int:
    """Check, and say it."""
    try:
        found, said = check(parser().parse_args(arguments))
    except (Unreadable, OSError) as broken:
        print(broken, file=sys.stderr)
        return 2
    print("\n".join(found[:MOST_SAID]) if found else said)
    if len(found) > MOST_SAID:
        print(f"… and {len(found) - MOST_SAID} more.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
