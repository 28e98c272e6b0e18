"""Finds capsules by words and by meaning: PostgreSQL ranks by words, the embedding then weighs the best again."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from capsule_cloud.memory import analysis, embedding, entries
from capsule_cloud.memory.limits import is_storable
from tenancy.scope import SqlCall, one_trip

FEWEST_CANDIDATES = 12  # that PostgreSQL hands over, best words first; or twice as many as asked for, and four
ENOUGH = 12  # matches by rare words, before common ones are looked at
MEANING = 1.2  # weight of the cosine (-1 to 1) beside the words' score (about 0 to 1); docs/decisions/search.md
FEEDBACK = 1.0  # weight of the first answers' meaning beside the query's own …
FIRST_ANSWERS = 3  # … and how many of them speak


@dataclass(frozen=True, slots=True)
class Hit:
    """One capsule found. `coverage`: the share of the query's weight that its words match; 1.0 is all of it."""

    capsule_id: str
    title: str
    document: str
    coverage: float
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """The hits, best first, and how much each of the query's stems weighs in this project (rare ones weigh more)."""

    hits: list[Hit]
    weights: dict[str, float]


def find(
    organization_id: UUID,
    project_id: UUID,
    query: str,
    *,
    user_id: str | None = None,
    capsule_type: str | None = None,
    tags: Sequence[str] = (),
    top_k: int = 5,
    as_typed: bool = False,
) -> Found:
    """The `top_k` best matches among all the project's capsules that meet the filters and have not expired.

    One round trip, unless a hit is larger than 16 KiB. `as_typed`: the last word may be unfinished.
    """
    lexemes = analysis.query_lexemes(query, as_typed=as_typed)
    if not lexemes or not all(is_storable(value) for value in (user_id or "", *tags)):
        return Found([], {})
    key = entries.key(project_id, user_id)
    limit = max(FEWEST_CANDIDATES, 2 * top_k + 4)
    call = SqlCall(
        "memory_search",
        (
            *(project_id, key, user_id, capsule_type, list(tags) or None, lexemes, max(ENOUGH, top_k), limit),
            embedding.MODEL,
        ),
    )
    rows = one_trip(organization_id, call)
    if not rows:
        return Found([], {})
    scores = _scores(query, [row[3] for row in rows], [row[6] for row in rows])
    hits = [
        Hit(
            capsule_id=rows[place][0],
            title=rows[place][1],
            document=rows[place][2] or _document(organization_id, project_id, rows[place][0]),
            coverage=min(1.0, rows[place][4]),
            score=float(scores[place]),
        )
        for place in np.argsort(-scores, kind="stable")[:top_k]
    ]
    return Found([hit for hit in hits if hit.document], dict(zip(lexemes, rows[0][5], strict=True)))


def _scores(query: str, lexical: list[float], embeddings: list[bytes | None]) -> embedding.Vector:
    """Words and meaning, added; the meaning asked for moves a little towards the first answers' (Rocchio).

    A capsule whose meaning is unknown (another model's) is taken to fit as well as the others do on average: while
    capsules are embedded again, those that are already have no advantage.
    """
    words = np.array(lexical, np.float32)
    unknown = [place for place, stored in enumerate(embeddings) if stored is None]
    if len(unknown) == len(embeddings):
        return words
    meanings = embedding.matrix(embeddings)
    asked = embedding.embed(query)
    first = np.argsort(-_sum(words, meanings @ asked, unknown), kind="stable")[:FIRST_ANSWERS]
    speaking = np.setdiff1d(first, unknown) if unknown else first
    if speaking.size:
        asked = embedding.unit(asked + FEEDBACK * meanings[speaking].mean(axis=0))
    return _sum(words, meanings @ asked, unknown)


def _sum(words: embedding.Vector, fit: embedding.Vector, unknown: list[int]) -> embedding.Vector:
    if unknown:
        fit[unknown] = np.delete(fit, unknown).mean()
    scores: embedding.Vector = words + MEANING * fit
    return scores


def _document(organization_id: UUID, project_id: UUID, capsule_id: str) -> str:
    """A document too large to have come with its hit; empty when it has just been deleted."""
    rows = one_trip(organization_id, SqlCall("memory_get", (project_id, capsule_id)))
    return str(rows[0][0]) if rows else ""
