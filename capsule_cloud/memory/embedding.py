"""Gives text a place in meaning space, offline: the mean of WordLlama's token vectors, without its own loader."""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

MODEL = "wordllama-l2-supercat-256"  # stored beside each embedding, which is compared with its own alone; no "/"
DIMENSIONS = 256
MAX_CHARACTERS = 20_000  # of a text; what follows hardly moves the mean

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Model:
    weights: NDArray[np.float16]
    tokenizer: Tokenizer


_loading = threading.Lock()


def embed(text: str) -> Vector:
    """The text's vector of length 1; all zeros for a text without tokens. 0.1 ms for a query, 0.5 ms for a page."""
    with _loading:  # two threads asking first must not both load
        model = _model()
    tokens = model.tokenizer.encode(text[:MAX_CHARACTERS], add_special_tokens=False).ids
    if not tokens:
        return np.zeros(DIMENSIONS, np.float32)
    return unit(model.weights[tokens].mean(axis=0, dtype=np.float32))


def unit(vector: Vector) -> Vector:
    """The vector at length 1, or zeros."""
    length = math.sqrt(vector @ vector)
    return vector / np.float32(length) if length else vector


def to_bytes(vector: Vector) -> bytes:
    """For storage: 512 bytes of float16, little endian."""
    return vector.astype("<f2").tobytes()


def matrix(stored: Sequence[bytes | None]) -> NDArray[np.float32]:
    """Stored vectors as the rows of a matrix; zeros where there is none."""
    nothing = bytes(2 * DIMENSIONS)
    rows = np.frombuffer(b"".join(bytes(row) if row else nothing for row in stored), "<f2")
    return rows.reshape(-1, DIMENSIONS).astype(np.float32)


@lru_cache(maxsize=1)
def _model() -> _Model:
    """Loaded on first use, in 0.3 s.

    The package is looked up and not imported: importing it reconfigures logging, and its own `load()` uses the network.
    """
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("The wordllama package, which holds the embedding's weights, is not installed.")
    folder = Path(spec.submodule_search_locations[0])
    weights = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return _Model(weights, tokenizer)
