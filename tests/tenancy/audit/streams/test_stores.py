"""Stores: files by hour and place, which the customers' program checks with no word of ours."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from capsule_cloud.lib import storage
from tenancy.audit.sealing import keys
from tenancy.audit.streams import batches, engine, services
from tenancy.scope import scope
from tests.factories import Tenant
from tests.tenancy.audit.exports.exported import verifier
from tests.tenancy.audit.streams.conftest import AddStream
from tests.tenancy.audit.streams.streamed import happen, log_of, make_due, size_of, stream_of

S3 = {
    "kind": "s3",
    "options": {"bucket": "logs", "region": "eu-central-1", "prefix": "capsule"},
    "secrets": {"access_key_id": "id", "secret_access_key": "secret"},
}


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the customer's bucket."""
    monkeypatch.setattr(storage, "customers", lambda kind, options, secrets: storage.Folder(tmp_path / "bucket"))
    return tmp_path / "bucket"


def wrongs(manifest: Path, folder: Path) -> list[str]:
    """What the customers' program says is wrong."""
    published = folder.parent / "audit-keys.json"
    published.write_text(json.dumps({"keys": keys.published()}, default=str))
    options = verifier.parser().parse_args(["export", str(manifest), "--keys", str(published)])
    found, _ = verifier.check(options)
    return list(found)


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def test_files_lie_by_the_hour_and_prove_themselves_and_their_growth(
    tenant: Tenant, add: AddStream, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "STORE_EVENTS", 8)
    new = add(tenant, **S3, has_ocsf=True)
    happen(tenant, 10)
    engine.deliver(budget=60)
    assert stream_of(tenant, new).next_seq == size_of(tenant)
    happen(tenant, 3)
    assert engine.deliver() == 0, "a file that is not full waits for its minute"
    make_due(tenant)
    engine.deliver(budget=60)
    manifests = sorted(bucket.rglob("*.manifest.json"))
    assert len(manifests) >= 3
    assert [one.parent.relative_to(bucket).as_posix().count("/") for one in manifests] == [3] * len(manifests)
    for manifest in manifests:
        assert wrongs(manifest, bucket) == []
    told = [json.loads(one.read_text())["manifest"] for one in manifests]
    assert [one["first"] for one in told] == [sum(one["count"] for one in told[:n]) for n in range(len(told))]
    assert told[-1]["since"] is not None
    bodies = [line for one in sorted(bucket.rglob("*[0-9].jsonl.gz")) for line in lines(one)]
    assert len(bodies) == size_of(tenant)
    ocsf = [json.loads(line) for one in sorted(bucket.rglob("*.ocsf.jsonl.gz")) for line in lines(one)]
    assert [one["metadata"]["uid"] for one in ocsf] == [json.loads(body)["id"] for body in bodies]
    names = json.loads(lines(max(bucket.rglob("*.names.json.gz")))[0])
    assert tenant.owner.email in names.values()


def test_a_file_that_is_altered_is_found_out(tenant: Tenant, add: AddStream, bucket: Path) -> None:
    add(tenant, **S3)
    happen(tenant, 4)
    engine.deliver(budget=60)
    [events] = bucket.rglob("*[0-9].jsonl.gz")
    events.write_bytes(gzip.compress("\n".join(reversed(lines(events))).encode() + b"\n"))
    [manifest] = bucket.rglob("*.manifest.json")
    assert wrongs(manifest, bucket)


def test_a_batch_that_is_sent_again_replaces_its_own_files(tenant: Tenant, add: AddStream, bucket: Path) -> None:
    new = add(tenant, **S3)
    happen(tenant, 4)
    engine.deliver(budget=60)
    before = sorted(one.name for one in bucket.rglob("*.*"))
    with scope(tenant.organization):
        services.replay(actor=tenant.actor, stream_id=new.stream.pk, seq=0)
    engine.deliver(budget=60)
    assert sorted(one.name for one in bucket.rglob("*.*")) == before
    assert all(wrongs(one, bucket) == [] for one in bucket.rglob("*.manifest.json"))


def test_a_store_that_refuses_is_tried_again(tenant: Tenant, add: AddStream, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise storage.StorageError("denied", "The store does not accept the credentials.")

    new = add(tenant, **S3)
    happen(tenant, 1)
    monkeypatch.setattr(storage, "customers", refuse)
    engine.deliver()
    assert (stream_of(tenant, new).next_seq, log_of(tenant)[-1].code) == (0, "denied")


def test_a_test_puts_a_small_file_there(tenant: Tenant, add: AddStream, bucket: Path) -> None:
    new = add(tenant, **S3)
    row = services.test(actor=tenant.actor, organization_id=tenant.organization.pk, stream_id=new.stream.pk)
    assert row.has_arrived
    [made] = bucket.glob("capsule-test-*.txt")
    assert b"may be deleted" in made.read_bytes()
