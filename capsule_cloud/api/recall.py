"""Recall: what is remembered about a question."""

from typing import Any

from django.http import HttpResponse

from billing.metering.meters import Meter
from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.fields import Text, Whole
from capsule_cloud.api.operations import Call, operation, reply
from capsule_cloud.api.sessions import user_id
from capsule_cloud.api.shapes import ANYTHING, TEXT, many, shape
from capsule_cloud.memory.selectors.recall import recall
from capsule_cloud.memory.services import reads
from tenancy.roles import Right

# The engine answers with its own names; the types of its JavaScript client have the shorter ones.
SHORT_NAMES = {"skill_name": "name", "skill_instructions": "instructions", "skill_trigger_pattern": "trigger_pattern"}


@operation(
    "GET",
    "recall",
    Right.MEMORY_READ,
    query=(
        Text(name="query", default=None, about="What to remember; required unless `q` is given."),
        Text(name="q", default=None, about="The engine's older name of `query`."),
        user_id(),
        Whole(name="top_k", default=3, low=1, high=10, about="How many capsules to draw from."),
    ),
    answer=shape(facts=many(ANYTHING), skills=many(ANYTHING), summary=TEXT, prompt_injection=TEXT, sources=many(TEXT)),
)
def recall_memories(call: Call) -> HttpResponse:
    """Recall the facts, skills and summaries that fit a question, as data and as text for a prompt."""
    query = call.query["query"] or call.query["q"]
    if not query:
        raise ApiError("bad_request", "'query' parameter is required")
    found = recall(
        organization_id=call.principal.organization_id,
        project_id=call.project,
        query=query,
        user_id=call.query["user_id"],
        top_k=call.query["top_k"],
    )
    reads.note(call.reader, call.read_as or "recall", found.sources, query=query, user_id=call.query["user_id"])
    call.count_read(Meter.RECALL, end_user=call.query["user_id"])
    return reply(
        {
            "facts": found.facts,
            "skills": [both_spellings(skill) for skill in found.skills],
            "summary": found.summary,
            "prompt_injection": found.prompt_injection,
            "sources": found.sources,
        }
    )


def both_spellings(skill: dict[str, Any]) -> dict[str, Any]:
    """A skill under the engine's field names and under its JavaScript client's."""
    return skill | {short: skill[long] for long, short in SHORT_NAMES.items() if long in skill}


OPERATIONS = (recall_memories,)
