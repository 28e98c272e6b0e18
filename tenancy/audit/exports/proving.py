"""Writes what stands beside the events of an export: their hashes, the people in them, and the manifest."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from django.utils import timezone

from tenancy.audit.exports import names, rows
from tenancy.audit.exports.models import Export, Format
from tenancy.audit.exports.turns import Turn
from tenancy.audit.sealing import exporting, selectors

PLACE = 8  # bytes of an event's place, in the file beside the events
PIECE = 2**16  # bytes that are read at once: whole places


def finish(turn: Turn, export: Export, folder: Path, written: exporting.File) -> list[dict[str, Any]]:
    """Write what stands beside the events: hashes, names of people, the manifest; returns all files, that one last."""
    (folder / "events").replace(folder / written.name)
    size = export.checkpoint_size or 0
    kept = [{"name": written.name, "holds": "events", "bytes": written.bytes, "sha256": written.sha256}]
    with turn.scope():
        turn.say()
        if export.has_people:
            names.write(folder / f"{export.label}.names.csv")
            kept.append(_described(folder / f"{export.label}.names.csv", "names"))
        if size:
            is_whole = not export.filters and written.count == (export.last or 0) - written.first
            hashes = folder / f"{export.label}.hashes"
            with hashes.open("wb") as stream:
                if is_whole:
                    skipped = (written.first - (export.first or 0)) * exporting.RECORD
                    records = _content(folder / "records", skipped)
                    exporting.write_hashes(stream, size=size, first=written.first, count=written.count, records=records)
                else:
                    exporting.write_selected_hashes(stream, size=size, seqs=_places(folder / "places"))
            kept.append(_described(hashes, "hashes"))
            manifest = folder / f"{export.label}.manifest.json"
            manifest.write_bytes(_manifest(export, written, kept[-1], size=size, is_whole=is_whole))
            kept.append(_described(manifest, "manifest"))
    return kept


def _places(path: Path) -> Iterator[int]:
    for piece in _content(path):
        yield from np.frombuffer(piece, "<i8").tolist()


def _content(path: Path, start: int = 0) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(PIECE):
            yield piece


def _manifest(export: Export, written: exporting.File, hashes: dict[str, Any], *, size: int, is_whole: bool) -> bytes:
    checkpoint = selectors.checkpoint_at(size)
    if checkpoint is None:
        raise selectors.NotSealed(f"There is no checkpoint of {size} events.")
    is_table = export.format != Format.JSONL
    return exporting.manifest(
        checkpoint=checkpoint,
        files=[written],
        hashes=exporting.File(hashes["name"], "", "", 0, 0, hashes["bytes"], hashes["sha256"]),
        first=written.first if written.count else 0,
        count=written.count,
        columns=rows.COLUMNS if is_table else {},
        selection=None if is_whole else export.filters or {"kept": "Events whose time was over are not there."},
        created_at=timezone.now(),
        since=export.proved_size if export.proved_size and export.proved_size <= size else None,
    )


def _described(path: Path, holds: str) -> dict[str, Any]:
    with path.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "holds": holds, "bytes": path.stat().st_size, "sha256": sha}
