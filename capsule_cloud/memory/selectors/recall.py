"""Recalls what is remembered about a question, in the engine's shape, the most relevant facts first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from capsule_cloud.memory import limits, search
from capsule_cloud.memory.content import facts_of, skills_of, summary_of
from capsule_cloud.memory.relevance import by_relevance
from tenancy.scope import current_organization_id

MAX_TOP_K = 50
MAX_FACTS = 20  # these three as in the engine
MAX_SKILLS = 10
MAX_SUMMARIES = 3


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the engine's recall gives; `sources` are capsule ids, best first, `prompt_injection` is for a prompt."""

    facts: list[dict[str, Any]]
    skills: list[dict[str, Any]]
    summary: str
    prompt_injection: str
    sources: list[str]


def recall(
    *,
    project_id: UUID,
    query: str,
    user_id: str | None = None,
    top_k: int = 3,
    capsule_type: str | None = None,
    tags: Sequence[str] = (),
    organization_id: UUID | None = None,
) -> Recalled:
    """The facts, skills and summaries of the `top_k` capsules that fit the query best, of one end user when given.

    One round trip to the database. `organization_id` is for callers without an open scope. Raises limits.InvalidInput.
    """
    limits.text("query", query)
    if not query.strip():
        raise limits.InvalidInput("query must not be empty")
    if not 1 <= top_k <= MAX_TOP_K:
        raise limits.InvalidInput(f"top_k must be from 1 to {MAX_TOP_K}")
    found = search.find(
        organization_id or current_organization_id(),
        project_id,
        query,
        user_id=user_id,
        capsule_type=capsule_type,
        tags=tags,
        top_k=top_k,
    )
    documents = [orjson.loads(hit.document) for hit in found.hits]
    facts = by_relevance([fact for document in documents for fact in facts_of(document)], found.weights)[:MAX_FACTS]
    skills = [skill for document in documents for skill in skills_of(document)][:MAX_SKILLS]
    summaries = [summary for document in documents if (summary := summary_of(document))][:MAX_SUMMARIES]
    return Recalled(
        facts=facts,
        skills=skills,
        summary=" | ".join(summaries),
        prompt_injection=_injection(facts, skills, summaries),
        sources=[hit.capsule_id for hit in found.hits],
    )


def _injection(facts: list[dict[str, Any]], skills: list[dict[str, Any]], summaries: list[str]) -> str:
    """The engine's text for a prompt, word for word."""
    lines = ["=== Historical Memory Context ==="]
    if summaries:
        lines += ["Background: " + " | ".join(summaries), ""]
    if facts:
        lines += ["Key Facts:", *(f"  - {fact.get('key', '')}: {fact.get('value', '')}" for fact in facts), ""]
    if skills:
        lines.append("Available Skills:")
        lines += [f"  [{skill.get('skill_name', '')}] {skill.get('description', '')}" for skill in skills]
        lines.append("")
    return "\n".join([*lines, "=== Historical Memory Context End ==="])
