"""Signs what is sent, by the Standard Webhooks specification: v1 (HMAC-SHA-256) and v1a (Ed25519) side by side."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from capsule_cloud.lib import crypto

SECRET_BYTES = 32
SECRET_PREFIX, PUBLIC_PREFIX = "whsec_", "whpk_"


@dataclass(frozen=True, slots=True)
class Keys:
    """What one signature is made with: a secret that the customer has too, and a private key that is ours alone."""

    secret: bytes
    private: bytes

    @property
    def secret_text(self) -> str:
        """The secret as customers configure it."""
        return SECRET_PREFIX + base64.b64encode(self.secret).decode()

    @property
    def public_text(self) -> str:
        """The public key as customers configure it."""
        return PUBLIC_PREFIX + base64.b64encode(crypto.public_key(self.private)).decode()


def new_keys() -> Keys:
    """Fresh ones."""
    return Keys(secrets.token_bytes(SECRET_BYTES), crypto.new_signing_key())


def seal(keys: Keys) -> bytes:
    """For storage, encrypted."""
    return crypto.seal(keys.secret + keys.private)


@lru_cache(maxsize=2_000)
def unseal(sealed: bytes) -> Keys:
    """What `seal` stored; kept, because opening it takes as long as signing."""
    plain = crypto.unseal(sealed)
    return Keys(plain[:SECRET_BYTES], plain[SECRET_BYTES:])


def headers(all_keys: Sequence[Keys], *, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The three headers for one attempt at the Unix second `at`; signed with each of the keys that are valid."""
    signed = f"{message_id}.{at}.".encode() + body
    signatures = [text for keys in all_keys for text in _signatures(keys, signed)]
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": " ".join(signatures)}


def _signatures(keys: Keys, signed: bytes) -> tuple[str, str]:
    symmetric = hmac.new(keys.secret, signed, hashlib.sha256).digest()
    asymmetric = crypto.sign(keys.private, signed)
    return f"v1,{base64.b64encode(symmetric).decode()}", f"v1a,{base64.b64encode(asymmetric).decode()}"
