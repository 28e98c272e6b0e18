"""Weighs facts against a question by the stems that they share with it."""

from typing import Any

from capsule_cloud.memory import analysis
from capsule_cloud.memory.content import text_of_fact


def by_relevance(facts: list[dict[str, Any]], weights: dict[str, float]) -> list[dict[str, Any]]:
    """The facts, those first that share the most weight with the query; equal ones keep their order."""
    beginnings = analysis.beginnings(weights)

    def weight(fact: dict[str, Any]) -> float:
        text = text_of_fact(fact)
        return relevance(text, weights) if analysis.may_have(text, beginnings) else 0.0

    return sorted(facts, key=weight, reverse=True)


def relevance(text: str, weights: dict[str, float]) -> float:
    """The weight of the query's stems that the text has."""
    stems = analysis.distinct(text)
    return sum([weight for stem, weight in weights.items() if stem in stems])
