"""The embedding works offline and quietly, and stores what it computed."""

import socket
import subprocess
import sys

import numpy as np
import pytest

from capsule_cloud.memory import embedding


def test_related_texts_are_near_and_unrelated_far() -> None:
    dog, puppy, tax = (embedding.embed(text) for text in ("a dog barks", "the puppy howls", "annual tax report"))
    assert dog @ puppy > dog @ tax + 0.1


def test_a_vector_has_length_one_or_none() -> None:
    assert np.linalg.norm(embedding.embed("tea")) == pytest.approx(1)
    assert not embedding.embed("").any()
    assert not embedding.unit(np.zeros(3, np.float32)).any()


def test_what_is_stored_is_what_was_computed() -> None:
    tea, coffee = embedding.embed("tea"), embedding.embed("coffee")
    stored = embedding.to_bytes(tea)

    assert len(stored) == 2 * embedding.DIMENSIONS
    rows = embedding.matrix([stored, None, memoryview(embedding.to_bytes(coffee)).tobytes()])
    assert np.allclose(rows[0], tea, atol=1e-3)
    assert not rows[1].any()
    assert np.allclose(rows[2], coffee, atol=1e-3)


def test_a_text_of_megabytes_is_embedded_by_its_beginning() -> None:
    assert np.allclose(embedding.embed("tea " * 1_000_000), embedding.embed("tea " * 5_000), atol=1e-3)


def test_no_network_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the embedding opened a connection")

    embedding._model.cache_clear()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert embedding.embed("tea").any()


def test_logging_is_left_as_it_was() -> None:
    program = (
        "import logging; from capsule_cloud.memory import embedding; embedding.embed('tea'); "
        "assert not logging.getLogger().handlers; import sys; assert 'wordllama' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
