"""Owns cryptography: encryption at rest, keyed hashes and Ed25519 signatures."""

import functools
import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings


class Unreadable(Exception):
    """A sealed value cannot be opened: wrong or missing key, or altered bytes. A retry does not help."""


@functools.cache
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def seal(plain: bytes) -> bytes:
    """Encrypt for storage with the first of ENCRYPTION_KEYS (Fernet: AES-128-CBC with HMAC-SHA-256)."""
    return _fernet(tuple(settings.ENCRYPTION_KEYS)).encrypt(plain)


def unseal(sealed: bytes | memoryview) -> bytes:
    """Decrypt what `seal` made, with any of ENCRYPTION_KEYS. Raises Unreadable."""
    try:
        return _fernet(tuple(settings.ENCRYPTION_KEYS)).decrypt(bytes(sealed))
    except InvalidToken:
        raise Unreadable("A stored secret cannot be opened with the current ENCRYPTION_KEYS.") from None


def keyed_hash(value: bytes) -> bytes:
    """HMAC-SHA-256 under API_KEY_PEPPER, 32 bytes: a stolen database alone cannot be searched for keys."""
    # not `hmac.digest`: it lets other threads run meanwhile, and getting the turn back costs more than the hash
    return hmac.new(settings.API_KEY_PEPPER.encode(), value, hashlib.sha256).digest()


def new_signing_key() -> bytes:
    """A fresh Ed25519 private key, 32 raw bytes (RFC 8032)."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(private: bytes) -> bytes:
    """The Ed25519 public key of a private one, 32 raw bytes."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def sign(private: bytes, message: bytes) -> bytes:
    """An Ed25519 signature, 64 bytes."""
    return _loaded(private).sign(message)


@functools.lru_cache(maxsize=8)
def _loaded(private: bytes) -> Ed25519PrivateKey:
    """Loading a key takes as long as signing with it, and the audit trail's signs thousands of notes."""
    return Ed25519PrivateKey.from_private_bytes(private)


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature over the message was made with the public key's private half."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
