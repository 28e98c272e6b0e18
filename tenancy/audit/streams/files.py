"""Makes files of a batch for a store: events, hashes and a manifest, which the customers' program checks as exports."""

import gzip
import hashlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson
import uuid_utils.compat as uuid_utils
from django.utils import timezone

from capsule_cloud.lib import storage
from tenancy.audit.sealing import exporting
from tenancy.audit.streams.batches import Batch
from tenancy.audit.streams.models import Stream
from tenancy.audit.streams.outcomes import Outcome, Verdict, failed


@dataclass(frozen=True, slots=True)
class Files:
    """What is put there, and how."""

    size: int
    put: Callable[[], Outcome]


def of_batch(stream: Stream, batch: Batch, secrets: dict[str, str]) -> Files:
    """Files named by the hour of the first event and its place: the same batch again replaces its own.

    The manifest comes last: with it the others are whole.
    """
    at = batch.lines[0].event.occurred_at
    folder, name = f"{at:%Y/%m/%d/%H}", f"{batch.first:012d}"
    events = _zipped(b"".join(f"{line.event.body}\n".encode() for line in batch.lines))
    buffer = io.BytesIO()
    exporting.write_hashes(buffer, size=batch.checkpoint.size, first=batch.first, count=batch.count)
    hashes = buffer.getvalue()
    manifest = exporting.manifest(
        checkpoint=batch.checkpoint,
        files=[_file(f"{name}.jsonl.gz", "gzip", batch, events)],
        hashes=_file(f"{name}.hashes", "none", batch, hashes),
        first=batch.first,
        count=batch.count,
        columns={},
        created_at=timezone.now(),
        since=stream.proved_size or None,
    )
    made = [(f"{name}.jsonl.gz", events), (f"{name}.hashes", hashes)]
    if stream.has_people:
        made.append((f"{name}.names.json.gz", _zipped(orjson.dumps(dict(batch.names)))))
    if stream.has_ocsf:
        made.append((f"{name}.ocsf.jsonl.gz", _zipped(b"".join(orjson.dumps(one.ocsf) + b"\n" for one in batch.lines))))
    made.append((f"{name}.manifest.json", manifest))
    whole = [(f"{folder}/{one}", content) for one, content in made]
    put = partial(_put, stream.kind, dict(stream.options), secrets, whole, is_test=False)
    return Files(sum(len(content) for _, content in whole), put)


def of_test(stream: Stream, secrets: dict[str, str]) -> Files:
    """A small file, which is deleted again where that can be."""
    key = f"capsule-test-{uuid_utils.uuid7().hex}.txt"
    word = b"Capsule Memory Cloud can write here. This file may be deleted.\n"
    return Files(len(word), partial(_put, stream.kind, dict(stream.options), secrets, [(key, word)], is_test=True))


def _put(
    kind: str,
    options: dict[str, str],
    secrets: dict[str, str],
    files: Sequence[tuple[str, bytes]],
    *,
    is_test: bool,
) -> Outcome:
    try:
        store = storage.customers(kind, options, secrets)
        for key, content in files:
            with tempfile.NamedTemporaryFile() as file:
                file.write(content)
                file.flush()
                store.put(key, Path(file.name))
        if is_test and isinstance(store, storage.Bucket):
            store.delete(files[0][0])
    except storage.Unfit as unfit:
        return failed(str(unfit), "blocked")
    except storage.StorageError as error:
        return failed(str(error), error.code)
    return Outcome(Verdict.ARRIVED, f"Stored {files[-1][0]}.")


def _zipped(content: bytes) -> bytes:
    return gzip.compress(content, 6, mtime=0)


def _file(name: str, compression: str, batch: Batch, content: bytes) -> exporting.File:
    digest = hashlib.sha256(content).hexdigest()
    return exporting.File(name, "jsonl", compression, batch.first, batch.count, len(content), digest)
