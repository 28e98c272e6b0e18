"""Exports as the product makes them, in memory and without a database, for the program that checks them."""

import csv
import gzip
import hashlib
import io
import json
import runpy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import zstandard

from capsule_cloud.lib import crypto
from tenancy.audit.sealing import exporting, notes
from tenancy.audit.sealing.merkle import Frontier, Tree, cover, leaf_hash

PROGRAM = Path("docs/api/verify_audit.py").resolve()
verifier = SimpleNamespace(**runpy.run_path(str(PROGRAM)))
ORGANIZATION = "0198c0de-0000-7000-8000-00000000000a"
ORIGIN = f"memory.example.com/audit/{ORGANIZATION}"
COLUMNS: dict[str, str | None] = {
    "recorded_at": "recorded_at",
    "actor_id": "actor.id",
    "actor_name": None,
    "reason": "reason",
    "changes": "changes",
}
FORMATS = [(kind, how) for kind in ("jsonl", "csv") for how in ("none", "gzip", "zstd")] + [("parquet", "none")]
LABELS = ["Ada", 'a "quoted" one', "Zoë, Ltd", "=1+1", "line\nbreak", "@name", "", "日本語"]


def new_signer() -> notes.Signer:
    private = crypto.new_signing_key()
    return notes.Signer(crypto.public_key(private), private)


SIGNER = new_signer()


def event(number: int) -> bytes:
    """A body: what is hashed."""
    label = LABELS[number % len(LABELS)]
    plain: dict[str, Any] = {
        "id": f"0198c0de-0000-7000-8000-{number:012x}",
        "organization_id": ORGANIZATION,
        "recorded_at": f"2026-11-29T10:{number // 60 % 60:02}:{number % 60:02}.000001Z",
        "v": 1,
        "action": "organization.project.updated",
        "actor": {"kind": "user", "id": f"{label}{number % 7}", "label": {"pseudonym": f"{number:032x}"}},
        "metadata": {},
    }
    if number % 3 == 0:
        plain |= {"reason": label, "changes": {"name": ["a", label]}}
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Row:
    """What stands in a file for an event."""

    seq: int
    body: bytes
    cells: dict[str, str] = field(default_factory=dict)


def row_of(seq: int, body: bytes) -> Row:
    """A row with the columns that its body gives."""
    whole = json.loads(body)
    cells = {
        "recorded_at": whole["recorded_at"],
        "actor_id": whole["actor"]["id"],
        "actor_name": f"Person {seq}",
        "reason": whole.get("reason", ""),
        "changes": json.dumps(whole["changes"], ensure_ascii=False) if "changes" in whole else "",
    }
    return Row(seq, body, cells)


@dataclass(frozen=True, slots=True)
class Made:
    """An export on disk."""

    folder: Path
    kind: str
    compression: str

    @property
    def manifest(self) -> Path:
        return self.folder / "trail.manifest.json"

    @property
    def data(self) -> Path:
        return self.folder / f"trail.{self.kind}"

    @property
    def hashes(self) -> Path:
        return self.folder / "trail.hashes"

    @property
    def keys(self) -> Path:
        return self.folder / "audit-keys.json"

    def check(self, *kept: Path) -> tuple[int, list[str]]:
        """The program's verdict: how it ends, and what it says."""
        arguments = ["export", str(self.manifest), "--keys", str(self.keys)]
        for one in kept:
            arguments += ["--kept", str(one)]
        options = verifier.parser().parse_args(arguments)
        try:
            found, said = verifier.check(options)
        except (verifier.Unreadable, OSError) as broken:
            return 2, [str(broken)]
        return (1, found) if found else (0, [said])

    def write(self, rows: Sequence[Row]) -> None:
        """Write the events' file anew."""
        self.data.write_bytes(compressed(file_of(self.kind, rows), self.compression))

    def forge_manifest(self, **changes: Any) -> None:
        """Change the manifest as somebody without the key can: what it says of the files fits again."""
        whole = json.loads(self.manifest.read_bytes())
        whole["manifest"] |= changes
        whole["manifest"]["files"][0] |= {"sha256": digest(self.data), "bytes": self.data.stat().st_size}
        whole["manifest"]["hashes"] |= {"sha256": digest(self.hashes), "bytes": self.hashes.stat().st_size}
        self.manifest.write_text(json.dumps(whole))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def file_of(kind: str, rows: Sequence[Row]) -> bytes:
    """The rows in a format, not compressed."""
    if kind == "jsonl":
        return b"".join(row.body + b"\n" for row in rows)
    if kind == "csv":
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        writer.writerow(["seq", *COLUMNS, "body"])
        for row in rows:
            writer.writerow([row.seq, *(guarded(row.cells[name]) for name in COLUMNS), row.body.decode()])
        return out.getvalue().encode()
    table = pa.table(
        {"seq": pa.array([row.seq for row in rows], pa.int64())}
        | {name: pa.array([row.cells[name] or None for row in rows], pa.string()) for name in COLUMNS}
        | {"body": pa.array([row.body.decode() for row in rows], pa.large_string())}
    )
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def guarded(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def compressed(plain: bytes, how: str) -> bytes:
    """In two members or frames, as large exports have many."""
    half = len(plain) // 2
    if how == "gzip":
        return gzip.compress(plain[:half], mtime=0) + gzip.compress(plain[half:], mtime=0)
    if how == "zstd":
        return b"".join(zstandard.ZstdCompressor().compress(part) for part in (plain[:half], plain[half:]))
    return plain


def note_of(bodies: Sequence[bytes], signer: notes.Signer = SIGNER, origin: str = ORIGIN) -> str:
    """The signed checkpoint of a trail."""
    grown = Frontier()
    grown.extend(map(leaf_hash, bodies))
    return notes.signed(origin, notes.checkpoint_text(origin, grown.size, grown.root), [signer])


def tree_of(bodies: Sequence[bytes]) -> Tree:
    """The tree over bodies, with all that it reads in memory."""
    leaves = [leaf_hash(body) for body in bodies]
    stored = {(node.level, node.place): node.hash for node in Frontier().extend(leaves)}

    def read(level: int, first: int, count: int) -> list[bytes]:
        return [stored[level, n] for n in range(first, first + count)] if level else leaves[first : first + count]

    return Tree(len(leaves), read)


def hashes_of(bodies: Sequence[bytes], exported: range) -> bytes:
    """The hashes file."""
    tree = tree_of(bodies)
    out = b"".join(bytes([level]) + tree.subtree(level, index) for level, index in cover(0, exported.start))
    out += b"".join(b"\x80" + leaf_hash(bodies[seq]) for seq in exported)
    end = exported.stop
    return out + b"".join(bytes([level]) + tree.subtree(level, index) for level, index in cover(end, len(bodies)))


def make_export(
    folder: Path,
    bodies: Sequence[bytes],
    exported: range | None = None,
    *,
    kind: str = "jsonl",
    compression: str = "none",
    signer: notes.Signer = SIGNER,
    since: int = 0,
) -> Made:
    """An export of a part of a trail, or of all of it, with the published keys beside it."""
    exported = range(len(bodies)) if exported is None else exported
    made = Made(folder, kind, compression)
    made.write([row_of(seq, bodies[seq]) for seq in exported])
    made.hashes.write_bytes(hashes_of(bodies, exported))
    file = exporting.File(
        made.data.name, kind, compression, exported.start, len(exported), made.data.stat().st_size, digest(made.data)
    )
    content = {
        "format": exporting.FORMAT,
        "organization_id": ORGANIZATION,
        "created_at": "2026-11-29T12:00:00Z",
        "schema_version": 1,
        "first": exported.start,
        "count": len(exported),
        "selection": None,
        "checkpoint": note_of(bodies, signer),
        "files": [asdict(file)],
        "hashes": {"name": made.hashes.name, "bytes": made.hashes.stat().st_size, "sha256": digest(made.hashes)},
        "columns": {} if kind == "jsonl" else COLUMNS,
        "since": None,
    }
    if since:
        content["since"] = {
            "checkpoint": note_of(bodies[:since], signer),
            "consistency": [notes.encoded(one) for one in tree_of(bodies).consistency(since)],
        }
    message = exporting.FORMAT.encode() + b"\n" + exporting.canonical(content)
    signature = notes.encoded(notes.signature(ORIGIN, message, signer))
    made.manifest.write_text(json.dumps({"manifest": content, "signature": signature}))
    publish(made.keys, SIGNER)
    return made


def publish(path: Path, *signers: notes.Signer, state: str = "signs") -> None:
    """Write the keys as they are published."""
    path.write_text(
        json.dumps({"keys": [{"public_key": notes.encoded(one.public), "state": state} for one in signers]})
    )
