"""Files that are no capsules, or are built to explode: refused with little time and memory, and nothing changed."""

import io
import os
import struct
import zipfile
from pathlib import Path

import httpx
import msgpack
import pytest
from pytest_django import DjangoDbBlocker

from capsule_cloud.memory.importing import MAX_IMPORT_BYTES
from tests.factories import Tenant, make_tenant
from tests.journeys.attacker import Attacker, assert_refused, untouched
from tests.live import LiveServer

MOST_MEMORY = 400 * 2**20  # that both workers together may grow by, through all of these
LARGEST = MAX_IMPORT_BYTES


def bomb(opening: bytes, atom: bytes, closing: bytes = b"") -> bytes:
    """As many atoms as a file of the largest size holds."""
    return opening + atom * ((LARGEST - len(opening) - len(closing)) // len(atom)) + closing


def zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("capsule.json", b"\0" * 2**22)
    return packed.getvalue()


ELEMENTS = struct.pack(">I", LARGEST - 8)
FILES = {
    "empty.json": b"",
    "array.json": b"[]",
    "text.json": b'"x"',
    "number.json": b"1" * 100_000,
    "nan.json": b'{"a": NaN}',
    "bad-utf8.json": b'{"capsule_id": "\xff"}',
    "deep.json": b'{"a":' * 100_000,
    "deep-lists.json": b"[" * LARGEST,
    "many-objects.json": bomb(b'{"a":[', b"{},", b"1]}"),
    "many-lists.json": bomb(b'{"a":[', b"[],", b"1]}"),
    "zip.json": zipped(),
    "zip.capsule": zipped(),
    "gzip.capsule": b"\x1f\x8b\x08" + bytes(100),
    "pickle.capsule": b"\x80\x04\x95" + bytes(20),
    "empty-map.capsule": b"\x80",
    "not-a-map.capsule": msgpack.packb([1, 2]),
    "binary-keys.capsule": b"\x81\xc4\x01\xff\x01",
    "binary.capsule": msgpack.packb({"capsule_id": b"\xff"}),
    "extension.capsule": msgpack.packb({"a": msgpack.ExtType(1, b"x")}),
    "time.capsule": msgpack.packb({"a": msgpack.Timestamp(1)}),
    "nan.capsule": msgpack.packb({"a": float("nan")}),
    "deep.capsule": b"\x91" * LARGEST,
    "deep-maps.capsule": b"\x81\xa1a" * 100_000 + b"\xc0",
    "long-text.capsule": b"\xdb\xff\xff\xff\xff",
    "long-binary.capsule": b"\xc6\xff\xff\xff\xff",
    "long-list.capsule": b"\xdd\xff\xff\xff\xff",
    "long-map.capsule": b"\xdf\xff\xff\xff\xff",
    "many-maps.capsule": bomb(b"\x81\xa1a\xdd" + ELEMENTS, b"\x80"),
    "many-lists.capsule": bomb(b"\x81\xa1a\xdd" + ELEMENTS, b"\x90"),
    "bad-utf8.txt": b"\xff\xfe",
    "../../etc/passwd": b"root",
}


@pytest.fixture
def me(http: httpx.Client, live_tenant: Tenant) -> Attacker:
    """A key of a tenant."""
    return Attacker(http, live_tenant.secret)


@pytest.fixture(scope="module")
def untouchable(live: LiveServer, django_db_blocker: DjangoDbBlocker) -> Tenant:
    """A committed organization of which every file must leave everything as it was, so that one is enough for all."""
    with django_db_blocker.unblock():
        return make_tenant()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_capsule_is_refused(
    http: httpx.Client, untouchable: Tenant, transactional_db: None, name: str
) -> None:
    me = Attacker(http, untouchable.secret)
    with untouched(untouchable):
        assert_refused(me("POST", "/api/v1/capsules/import", files={"file": (name, FILES[name])}), 400, 413)


def test_no_file_makes_the_server_grow(live: LiveServer, me: Attacker) -> None:
    before = memory_of(live)
    for name in ("many-objects.json", "many-lists.json", "many-maps.capsule", "many-lists.capsule"):
        me("POST", "/api/v1/capsules/import", files={"file": (name, FILES[name])})
    assert memory_of(live) - before < MOST_MEMORY


def memory_of(live: LiveServer) -> int:
    """The most memory, in bytes, that the server's processes have ever had, added up."""
    parent = live.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sum(_peak(int(child)) for child in [*children, str(parent)])


def _peak(pid: int) -> int:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def test_a_file_is_taken_to_the_last_byte_of_its_limit(live_tenant: Tenant, me: Attacker) -> None:
    text = os.urandom(8).hex().encode() + b" " * (LARGEST - 16)
    assert me("POST", "/api/v1/capsules/import", files={"file": ("a.txt", text)}).status_code == 200
    with untouched(live_tenant):
        for more in (1, 2**20):
            assert_refused(me("POST", "/api/v1/capsules/import", files={"file": ("a.txt", text + b"x" * more)}), 413)


def test_a_form_with_thousands_of_parts_is_refused(live_tenant: Tenant, me: Attacker) -> None:
    with untouched(live_tenant):
        fields = {f"field{n}": "x" for n in range(2_000)}
        assert_refused(me("POST", "/api/v1/capsules/import", files={"file": ("a.txt", b"x")}, data=fields), 400)
        files = [("file", (f"{n}.txt", b"x")) for n in range(200)]
        assert_refused(me("POST", "/api/v1/capsules/import", files=files), 400)
        parameters = "&".join(f"a{n}=1" for n in range(2_000))
        assert_refused(me("GET", f"/api/v1/capsules?{parameters}"), 400)


def test_merging_what_was_merged_does_not_grow_without_end(live_tenant: Tenant, me: Attacker) -> None:
    whole = [
        me("POST", "/api/v1/capsules/import", files={"file": (name, b"tea " * 2**20)}).json()["capsule_id"]
        for name in ("a.txt", "b.txt")
    ]
    merged = me("POST", "/api/v1/capsules/merge", json={"capsule_ids": whole})
    assert merged.status_code == 200
    with untouched(live_tenant):
        again = {"capsule_ids": [merged.json()["capsule_id"], whole[0]]}
        assert_refused(me("POST", "/api/v1/capsules/merge", json=again), 413)
