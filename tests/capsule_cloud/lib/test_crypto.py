"""Sealed values, keyed hashes and signatures."""

from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from capsule_cloud.lib import crypto


@given(plain=st.binary(max_size=200))
def test_what_is_sealed_opens_again_and_shows_nothing(plain: bytes) -> None:
    sealed = crypto.seal(plain)
    assert crypto.unseal(sealed) == plain
    assert crypto.unseal(memoryview(sealed)) == plain
    assert len(plain) < 8 or plain not in sealed


@given(noise=st.binary(max_size=200))
def test_nothing_else_opens(noise: bytes) -> None:
    with pytest.raises(crypto.Unreadable):
        crypto.unseal(noise)


def test_keys_rotate_without_losing_what_was_sealed(settings: Any) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    settings.ENCRYPTION_KEYS = [old]
    sealed = crypto.seal(b"word")
    settings.ENCRYPTION_KEYS = [new, old]
    assert crypto.unseal(sealed) == b"word"
    fresh = crypto.seal(b"word")
    settings.ENCRYPTION_KEYS = [new]
    assert crypto.unseal(fresh) == b"word"
    with pytest.raises(crypto.Unreadable):
        crypto.unseal(sealed)


def test_a_keyed_hash_depends_on_the_pepper(settings: Any) -> None:
    settings.API_KEY_PEPPER = "a" * 32
    first = crypto.keyed_hash(b"key")
    assert len(first) == 32
    assert crypto.keyed_hash(b"key") == first
    settings.API_KEY_PEPPER = "b" * 32
    assert crypto.keyed_hash(b"key") != first


@given(message=st.binary(max_size=100), other=st.binary(max_size=100))
def test_a_signature_is_of_one_message_by_one_key(message: bytes, other: bytes) -> None:
    private = crypto.new_signing_key()
    public, signature = crypto.public_key(private), crypto.sign(private, message)
    assert crypto.verifies(public, signature, message)
    assert crypto.verifies(public, signature, other) == (message == other)
    assert not crypto.verifies(crypto.public_key(crypto.new_signing_key()), signature, message)


@given(public=st.binary(max_size=40), signature=st.binary(max_size=70))
def test_noise_verifies_nothing(public: bytes, signature: bytes) -> None:
    assert not crypto.verifies(public, signature, b"message")
