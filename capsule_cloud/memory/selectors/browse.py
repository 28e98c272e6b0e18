"""Searches capsules for people: a page of them, each with why it matched."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from capsule_cloud.memory import analysis, limits, search
from capsule_cloud.memory.content import facts_of, skills_of, summary_of, text_of_fact, text_of_skill
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.relevance import relevance
from capsule_cloud.memory.selectors.capsules import list_capsules
from capsule_cloud.memory.storage import visible
from tenancy.scope import current_organization_id

MAX_RESULTS = 40  # of a search; a list without words has no end
PASSAGE = 220  # characters


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of a passage, and whether it is one of the words that matched."""

    text: str
    is_match: bool


@dataclass(frozen=True, slots=True)
class Why:
    """Why a capsule matched: where, the passage, the words, and their share of the query's weight."""

    where: str  # title, fact, skill, summary or content
    passage: list[Piece]
    words: list[str]
    coverage: float


@dataclass(frozen=True, slots=True)
class Result:
    """A capsule on the page; `why` only when words were searched."""

    capsule: Capsule
    why: Why | None


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Capsules, best (or, without a query, newest) first, and whether another page follows."""

    results: list[Result]
    has_more: bool


def search_page(
    *,
    project_id: UUID,
    query: str = "",
    user_id: str | None = None,
    capsule_type: str | None = None,
    tags: Sequence[str] = (),
    limit: int = 25,
    offset: int = 0,
) -> SearchPage:
    """A page of the project's capsules that meet the filters; `query` may end in an unfinished word.

    Raises limits.InvalidInput.
    """
    if not limits.text("query", query).strip():
        listed = list_capsules(
            project_id=project_id,
            user_id=user_id,
            capsule_type=capsule_type,
            tags=tags,
            limit=limit + 1,
            offset=offset,
        )
        return SearchPage([Result(row, None) for row in listed[:limit]], len(listed) > limit)
    found = search.find(
        current_organization_id(),
        project_id,
        query,
        user_id=user_id,
        capsule_type=capsule_type,
        tags=tags,
        top_k=MAX_RESULTS,
        as_typed=True,
    )
    hits = found.hits[offset : offset + limit]
    rows = visible(project_id).defer("document").filter(capsule_id__in=[hit.capsule_id for hit in hits])
    by_id = {row.capsule_id: row for row in rows}
    results = [
        Result(by_id[hit.capsule_id], explain(orjson.loads(hit.document), found.weights, hit.coverage))
        for hit in hits
        if hit.capsule_id in by_id
    ]
    return SearchPage(results, len(found.hits) > offset + limit)


def explain(document: dict[str, Any], weights: dict[str, float], coverage: float) -> Why:
    """The part of the capsule that shares most with the query, and the words that matched there and elsewhere."""
    parts = _parts(document)
    exact = {stem.rstrip(analysis.PREFIX): weight for stem, weight in weights.items()}

    def shared(part: tuple[str, str]) -> tuple[float, int]:
        return relevance(part[1], exact), len(analysis.words_matching(part[1], weights))

    where, text = max(parts, key=shared)
    everything = "\n".join(part for _, part in parts)
    words = analysis.words_matching(everything, weights)
    return Why(where, _passage(text, analysis.words_matching(text, weights)), words, coverage)


def _parts(document: dict[str, Any]) -> list[tuple[str, str]]:
    parts = [("fact", text_of_fact(fact)) for fact in facts_of(document)]
    parts += [("skill", text_of_skill(skill)) for skill in skills_of(document)]
    if document["capsule_type"] == "context":
        parts.append(("content", str(document["payload"].get("content", ""))))
    elif summary := summary_of(document):
        parts.append(("summary", summary))
    parts.append(
        ("title", document["metadata"]["title"])
    )  # late: of equals the first is shown, and the title is anyway
    parts += [("tag", tag) for tag in document["metadata"]["tags"]]
    return parts


def _passage(text: str, words: Sequence[str]) -> list[Piece]:
    """About PASSAGE characters around the first matching word, cut into pieces."""
    spans = analysis.spans(text, words)
    start = max(0, spans[0][0] - PASSAGE // 3) if spans else 0
    end = min(len(text), start + PASSAGE)
    pieces: list[Piece] = []
    position = start
    for first, last in spans:
        if first < position or last > end:
            continue
        if first > position:
            pieces.append(Piece(text[position:first], is_match=False))
        pieces.append(Piece(text[first:last], is_match=True))
        position = last
    if position < end:
        pieces.append(Piece(text[position:end], is_match=False))
    if start > 0:
        pieces.insert(0, Piece("…", is_match=False))
    if end < len(text):
        pieces.append(Piece("…", is_match=False))
    return pieces
