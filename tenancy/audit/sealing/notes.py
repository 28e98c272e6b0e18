"""Signed notes, checkpoints and proofs in the text formats of C2SP, which other people's tools read too."""

import base64
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from capsule_cloud.lib import crypto

ED25519 = b"\x01"  # the algorithm's byte (signed-note)
PROOF_HEAD = "c2sp.org/tlog-proof@v1"


class Signer(NamedTuple):
    """A key pair, raw (RFC 8032)."""

    public: bytes
    private: bytes


def key_id(name: str, public: bytes) -> bytes:
    """The four bytes by which a signature says which key of that name it is of."""
    return sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


def verifier_key(name: str, public: bytes) -> str:
    """The key as tools take it: name, id and key, joined by plus signs."""
    return f"{name}+{key_id(name, public).hex()}+{encoded(ED25519 + public)}"


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """What a checkpoint signs: whose log, how many leaves, which root."""
    return f"{origin}\n{size}\n{encoded(root)}\n"


def signed(name: str, text: str, signers: Iterable[Signer]) -> str:
    """The note: the text, an empty line, and a signature of each signer."""
    lines = [f"— {name} {encoded(signature(name, text.encode(), one))}\n" for one in signers]
    return f"{text}\n{''.join(lines)}"


def signature(name: str, message: bytes, signer: Signer) -> bytes:
    """The key's id and its signature, 68 bytes."""
    return key_id(name, signer.public) + crypto.sign(signer.private, message)


def tlog_proof(index: int, hashes: Sequence[bytes], note: str, extra: bytes = b"") -> str:
    """The proof that a leaf is in a checkpoint's tree, in one file that needs nothing else (`.tlog-proof`)."""
    head = [PROOF_HEAD, *([f"extra {encoded(extra)}"] if extra else []), f"index {index}"]
    return "\n".join([*head, *map(encoded, hashes), "", note])


def encoded(value: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(value).decode()
