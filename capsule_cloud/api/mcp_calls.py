"""What the tools and prompts of MCP share: describing themselves, refusing, and letting REST routes answer for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.http import HttpRequest

from capsule_cloud.api import refusals
from capsule_cloud.api.auth import demand, principal_of
from capsule_cloud.api.errors import ApiError, translate
from capsule_cloud.api.fields import REQUIRED, Field, parse
from capsule_cloud.api.operations import Call, Operation
from tenancy.roles import Right

Arguments = dict[str, Any]
Run = Callable[[Call, Arguments], str]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: what it takes, what its key must be allowed to do, and the text it answers."""

    name: str
    title: str
    about: str
    right: Right
    fields: Sequence[Field]
    run: Run

    @property
    def description(self) -> dict[str, Any]:
        """The tool as `tools/list` shows it."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.about,
            "inputSchema": {
                "type": "object",
                "properties": {field.name: field.schema() for field in self.fields},
                "required": [field.name for field in self.fields if field.default is REQUIRED],
            },
            "annotations": {
                "readOnlyHint": self.right is Right.MEMORY_READ,
                "destructiveHint": False,
                "openWorldHint": False,
            },
        }

    def call(self, request: HttpRequest, arguments: Arguments) -> tuple[str, bool]:
        """The text for the model, and whether it says what went wrong: the model can then put it right."""
        try:
            return perform(request, self.right, self.fields, arguments, self.run), False
        except ApiError as refusal:
            refusals.tell(request, refusal, refusal, principal_of(request))
            return as_json({"error": sentence(refusal), "code": refusal.code}), True


def perform(request: HttpRequest, right: Right, fields: Sequence[Field], arguments: Arguments, run: Run) -> str:
    """Check the key's right and the arguments, then run. Every expected failure is raised as an ApiError."""
    principal = principal_of(request)
    try:
        demand(principal, right)
        return run(Call(request, principal), parse(fields, arguments))
    except Exception as error:
        refusal = translate(error)
        if refusal is None:
            raise
        raise refusal from error


def answered_by(operation: Operation, call: Call, arguments: Arguments, **path: str) -> str:
    """What a REST route answers to the same values: checked, counted and audited there."""
    given = {name: value for name, value in arguments.items() if value != ()}  # a list's default, which is no JSON
    call.query = parse(operation.query, given)
    call.body = parse(operation.body.fields, given) if operation.body is not None else {}
    return operation.handler(call, **path).content.decode()


def sentence(refusal: ApiError) -> str:
    """A refusal in words."""
    if isinstance(refusal.detail, str):
        return refusal.detail
    return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in refusal.detail)


def as_json(data: Any) -> str:
    """JSON as text."""
    return orjson.dumps(data).decode()
