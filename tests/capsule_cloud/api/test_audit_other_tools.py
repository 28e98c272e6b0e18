"""What the API proves, checked with other people's libraries alone: pymerkle for trees, cryptography for signatures.

Nothing of ours checks here: a checkpoint is read as c2sp.org/signed-note and c2sp.org/tlog-checkpoint say.
"""

import hashlib
import json
from base64 import b64decode
from itertools import combinations
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.test import Client
from pymerkle import InmemoryTree, InvalidProof, verify_inclusion
from pymerkle.proof import InclusionProof

from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant
from tests.sealing import seal_all
from tests.tenancy.audit.streams.streamed import happen


@pytest.fixture
def api(tenant: Tenant) -> Api:
    """The API of a tenant whose trail is sealed."""
    seal_all()
    return Api(tenant)


def opened(note: str, verifier_keys: list[str]) -> tuple[int, bytes]:
    """The size and the root of a checkpoint that one of the keys has signed."""
    text, _, signatures = note.partition("\n\n")
    text += "\n"
    origin, size, root, rest = text.split("\n")
    assert rest == ""
    for line in signatures.splitlines():
        dash, name, packed = line.split(" ")
        assert (dash, name) == ("—", origin)
        signature = b64decode(packed, validate=True)
        for key in verifier_keys:
            of, key_id, encoded = key.split("+", 2)
            kind, public = b64decode(encoded)[:1], b64decode(encoded)[1:]
            assert (of, kind, len(public)) == (origin, b"\x01", 32)
            assert bytes.fromhex(key_id) == hashlib.sha256(f"{of}\n".encode() + kind + public).digest()[:4]
            if signature[:4].hex() == key_id:
                Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], text.encode())
                return int(size), b64decode(root, validate=True)
    raise AssertionError("nobody known signed it")


def shape(size: int) -> InmemoryTree:
    """Another author's tree of that size, of other leaves: only the shapes of its proofs are ours."""
    tree = InmemoryTree(algorithm="sha256")
    for number in range(size):
        tree.append_entry(str(number).encode())
    return tree


def inclusion(index: int, size: int, leaf: bytes, hashes: list[str]) -> InclusionProof:
    """Our hashes as that author's proof."""
    rule = shape(size).prove_inclusion(index + 1, size).rule
    return InclusionProof("sha256", True, size, index + 1, rule, [leaf, *map(b64decode, hashes)])


def test_each_event_is_in_the_tree_that_the_checkpoint_signs(api: Api) -> None:
    keys = api.get("/v1/audit/checkpoint").json()["verifier_keys"]
    events = api.get("/v1/audit/events?limit=100").json()["data"]
    seal_all()  # that the log was read is one of them
    places = []
    for event in events:
        answer = api.get(f"/v1/audit/events/{event['id']}/proof").json()
        size, root = opened(answer["checkpoint"], keys)
        leaf = hashlib.sha256(b"\x00" + answer["event"].encode()).digest()
        proof = inclusion(answer["index"], size, leaf, answer["hashes"])
        verify_inclusion(leaf, root, proof, index=answer["index"] + 1, size=size, algorithm="sha256")
        assert json.loads(answer["event"])["id"] == event["id"]
        places.append(answer["index"])
        other = hashlib.sha256(b"\x00" + answer["event"].replace("organization", "0rganization", 1).encode()).digest()
        wrong = inclusion(answer["index"], size, other, answer["hashes"])
        with pytest.raises(InvalidProof):
            verify_inclusion(other, root, wrong, index=answer["index"] + 1, size=size, algorithm="sha256")
    assert sorted(places) == list(range(len(events)))


def is_grown(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """The algorithm of RFC 9162, 2.1.4.2, step by step. pymerkle's own proofs of this kind are not the RFC's."""

    def pair(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\x01" + left + right).digest()

    if not proof:
        return False
    if old & (old - 1) == 0:
        proof = [old_root, *proof]
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for node in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = pair(node, fr), pair(node, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = pair(sr, node)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and (fr, sr) == (old_root, new_root)


def test_every_later_tree_begins_with_every_earlier_one(api: Api) -> None:
    kept: list[dict[str, Any]] = [api.get("/v1/audit/checkpoint").json()]
    for number in range(6):
        happen(api.tenant, 1 + number % 3)
        kept.append(api.get("/v1/audit/checkpoint").json())
    keys = kept[0]["verifier_keys"]
    roots = dict(opened(one["checkpoint"], keys) for one in kept)
    assert len(roots) == 7
    events = [
        api.get(f"/v1/audit/events/{one['id']}").json() for one in api.get("/v1/audit/events?limit=100").json()["data"]
    ]
    bodies = {one["index"]: one["body"] for one in events if one["index"] is not None}
    theirs = InmemoryTree(algorithm="sha256")
    for place in range(max(roots)):
        theirs.append_entry(bodies[place].encode())
    assert {size: theirs.get_root(size) for size in roots} == roots, "another author's tree of the very events"
    for old, new in combinations(sorted(roots), 2):
        answer = api.get(f"/v1/audit/consistency?from={old}&to={new}").json()
        assert opened(answer["checkpoint"], keys) == (new, roots[new])
        hashes = list(map(b64decode, answer["hashes"]))
        assert is_grown(old, roots[old], new, roots[new], hashes)
        assert not is_grown(old, roots[new], new, roots[new], hashes)
        for number in range(len(hashes)):
            broken = [*hashes[:number], bytes(32), *hashes[number + 1 :]]
            assert not is_grown(old, roots[old], new, roots[new], broken)


def test_the_checkpoint_is_in_the_log_of_all(api: Api) -> None:
    answer = api.get("/v1/audit/checkpoint").json()
    log = answer["log"]
    origin = log["checkpoint"].split("\n")[0]
    assert answer["origin"] == f"{origin}/{api.tenant.organization.pk}"
    published = [b64decode(one["public_key"]) for one in Client().get("/.well-known/audit-keys.json").json()["keys"]]
    names = [hashlib.sha256(f"{origin}\n".encode() + b"\x01" + one).digest()[:4].hex() for one in published]
    assert names, "the name of a key is made of the log's name, so each log has its own for the same key"
    text, _, line = log["checkpoint"].partition("\n\n")
    signature = b64decode(line.split(" ")[2])
    [public] = [one for one, name in zip(published, names, strict=True) if name == signature[:4].hex()]
    Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], f"{text}\n".encode())
    # what is above the signatures is the leaf
    leaf = hashlib.sha256(b"\x00" + answer["checkpoint"].partition("\n\n")[0].encode() + b"\n").digest()
    proof = inclusion(log["index"], log["size"], leaf, log["hashes"])
    root = b64decode(text.split("\n")[2])
    verify_inclusion(leaf, root, proof, index=log["index"] + 1, size=log["size"], algorithm="sha256")


def test_a_checkpoint_with_another_size_is_not_signed(api: Api) -> None:
    answer = api.get("/v1/audit/checkpoint").json()
    size = answer["size"]
    assert opened(answer["checkpoint"], answer["verifier_keys"])[0] == size
    with pytest.raises(InvalidSignature):
        opened(answer["checkpoint"].replace(f"\n{size}\n", f"\n{size + 1}\n"), answer["verifier_keys"])
