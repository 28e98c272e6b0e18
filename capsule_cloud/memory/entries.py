"""Makes a capsule's search entry: its stems, its place in meaning space, the keys of its project and end user."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from capsule_cloud.memory import analysis, embedding
from capsule_cloud.memory.content import Document, searchable_text

# What makes an entry as it is. Entries of another recipe are made anew (services/search_entries.py).
RECIPE = f"{embedding.MODEL}/{analysis.EDITION}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What `memory_save` stores for search."""

    keys: list[int]
    lexemes: str
    length: int
    embedding: bytes
    embedding_model: str


def make(project_id: UUID, user_id: str, document: Document) -> Entry:
    """The search entry of a capsule's document."""
    text = searchable_text(document)
    stems = analysis.lexemes(text)
    return Entry(
        keys=[key(project_id), key(project_id, user_id)],
        lexemes=analysis.vector(stems),
        length=len(stems),
        embedding=embedding.to_bytes(embedding.embed(text)),
        embedding_model=RECIPE,
    )


def key(project_id: UUID, user_id: str | None = None) -> int:
    """A 64-bit hash of a project, or of one end user in it. Equal hashes only cost time: real ids are compared too."""
    name = project_id.bytes if user_id is None else project_id.bytes + user_id.encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big", signed=True)
