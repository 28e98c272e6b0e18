"""The prompt that MCP clients offer to people: what is remembered about a topic."""

from typing import Any

import orjson
from django.http import HttpRequest

from capsule_cloud.api import recall, sessions
from capsule_cloud.api.fields import Text
from capsule_cloud.api.mcp_calls import Arguments, answered_by, perform
from capsule_cloud.api.operations import Call
from tenancy.roles import Right

TOPIC = Text(name="topic", low=1, about="A topic or a question")
USER = sessions.user_id()
INTRODUCTION = "What is known from earlier conversations follows. Use it where it helps:\n\n"
NOTHING = "(Nothing is remembered about this topic.)"
MEMORY_CONTEXT: dict[str, Any] = {
    "name": "memory-context",
    "title": "What is remembered",
    "description": "Recall what is remembered about a topic, to begin a conversation with it.",
    "arguments": [
        {"name": TOPIC.name, "description": TOPIC.about, "required": True},
        {"name": USER.name, "description": f"{USER.about} Default: {USER.default}.", "required": False},
    ],
}


def memory_context(request: HttpRequest, arguments: Arguments) -> dict[str, Any]:
    """The prompt with what is remembered, as `prompts/get` answers it. Raises ApiError."""
    text = perform(request, Right.MEMORY_READ, (TOPIC, USER), arguments, _remembered)
    message = {"role": "user", "content": {"type": "text", "text": INTRODUCTION + text}}
    return {"description": f"What is remembered about: {arguments['topic']}", "messages": [message]}


def _remembered(call: Call, arguments: Arguments) -> str:
    call.read_as = "inject"
    found = orjson.loads(answered_by(recall.recall_memories, call, arguments | {"query": arguments["topic"]}))
    return str(found["prompt_injection"]) if found["facts"] or found["skills"] else NOTHING
