"""Capsules: the engine's routes, and what it has no route for: fork, compare, pin, tag, expire."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.http import HttpResponse

from billing.metering.meters import Meter
from billing.quotas.models import ParkedWrite
from billing.quotas.parking import park_change
from billing.quotas.services import QuotaReached
from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.fields import Choice, Many, Moment, Text, Whole
from capsule_cloud.api.operations import Call, operation, reply
from capsule_cloud.api.sessions import PARKED, TAGS, parked, user_id
from capsule_cloud.api.shapes import ANYTHING, FLAG, MOMENT_OR_NULL, TEXT, WHOLE, Schema, many, perhaps, shape
from capsule_cloud.memory import limits
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.selectors import capsules as selectors
from capsule_cloud.memory.selectors.capsules import CapsuleNotFound
from capsule_cloud.memory.services import capsules, reads
from tenancy.roles import Right
from tenancy.scope import scope

ROW: dict[str, Schema] = {
    "capsule_id": TEXT,
    "type": TEXT,
    "title": TEXT,
    "tags": many(TEXT),
    "sealed_at": MOMENT_OR_NULL,
    "turn_count": WHOLE,
    "status": TEXT,
}
STATE: dict[str, Schema] = {**ROW, "user_id": TEXT, "is_pinned": FLAG, "expires_at": MOMENT_OR_NULL}
CHANGED = perhaps(shape(**STATE), **PARKED)


OWNER = Text(name="user_id", default=None, about="Only if it is this end user's: else it is not found.")


def check_owner(call: Call, capsule_id: str, user_id: str | None) -> None:
    """Raise CapsuleNotFound for a capsule of another end user than the one that the request names, if it names one."""
    if user_id is not None:
        selectors.get_capsule(project_id=call.project, capsule_id=capsule_id, user_id=user_id)


@contextmanager
def named_as_the_engine_does(capsule_id: str) -> Iterator[None]:
    """Say "not found" with the engine's sentence for routes of one capsule."""
    try:
        yield
    except CapsuleNotFound:
        raise ApiError("not_found", f"Capsule {capsule_id} not found") from None


@operation(
    "GET",
    "capsules",
    Right.MEMORY_READ,
    query=(
        user_id(None),
        Choice(name="type", words=tuple(Capsule.Type.values), default=None),
        Text(name="tags", default="", about="Comma-separated; capsules that have all of them."),
        Whole(name="limit", default=20, low=1, high=100),
        Whole(name="offset", default=0, low=0, high=2**31 - 1),
    ),
    answer=many(shape(**ROW)),
    is_way_out=True,
)
def list_capsules(call: Call) -> HttpResponse:
    """List capsules, newest first."""
    query = call.query
    with scope(call.principal.organization_id):
        found = selectors.list_capsules(
            project_id=call.project,
            user_id=query["user_id"],
            capsule_type=query["type"],
            tags=[tag.strip() for tag in query["tags"].split(",") if tag.strip()],
            limit=query["limit"],
            offset=query["offset"],
        )
        reads.note(call.reader, "list", [one.capsule_id for one in found], user_id=query["user_id"])
    call.count_read(Meter.READ, end_user=query["user_id"] or "")
    return reply([_row(capsule) for capsule in found])


@operation("GET", "capsules/{capsule_id}", Right.MEMORY_READ, query=(OWNER,), answer=ANYTHING)
def get_capsule(call: Call, capsule_id: str) -> HttpResponse:
    """Get a whole capsule, in the engine's JSON."""
    with named_as_the_engine_does(capsule_id):
        if call.query["user_id"] is not None:
            with scope(call.principal.organization_id):
                check_owner(call, capsule_id, call.query["user_id"])
        document = selectors.get_document(
            organization_id=call.principal.organization_id,
            project_id=call.project,
            capsule_id=capsule_id,
            also=reads.calls(call.reader, "get", [capsule_id]),
        )
    call.count_read(Meter.READ)
    return HttpResponse(document, content_type="application/json")


@operation(
    "DELETE",
    "capsules/{capsule_id}",
    Right.MEMORY_DELETE,
    query=(OWNER,),
    answer=shape(deleted=FLAG, capsule_id=TEXT),
)
def delete_capsule(call: Call, capsule_id: str) -> HttpResponse:
    """Delete a capsule, and the raw turns that it was made of."""
    with named_as_the_engine_does(capsule_id), scope(call.principal.organization_id):
        capsules.delete_capsule(
            project_id=call.project, capsule_id=capsule_id, actor=call.principal.actor, user_id=call.query["user_id"]
        )
        call.count_write(Meter.DELETE)
    return reply({"deleted": True, "capsule_id": capsule_id})


@operation("GET", "capsules/{capsule_id}/prompt-snippet", Right.MEMORY_READ, query=(OWNER,), answer=shape(text=TEXT))
def get_prompt_snippet(call: Call, capsule_id: str) -> HttpResponse:
    """Get a capsule as text for a prompt."""
    with named_as_the_engine_does(capsule_id), scope(call.principal.organization_id):
        check_owner(call, capsule_id, call.query["user_id"])
        text = selectors.prompt_snippet(project_id=call.project, capsule_id=capsule_id)
        reads.note(call.reader, "snippet", [capsule_id])
    call.count_read(Meter.READ)
    return reply({"text": text})


@operation(
    "POST",
    "capsules/merge",
    Right.MEMORY_WRITE,
    body=(
        Many(name="capsule_ids", of=Text(), high=capsules.MAX_MERGED, default=(), about="At least two."),
        Text(name="title", default=""),
        TAGS,
        user_id(None),
    ),
    answer=perhaps(shape(capsule_id=TEXT, type=TEXT, title=TEXT, turn_count=WHOLE), **PARKED),
    is_parkable=True,
)
def merge_capsules(call: Call) -> HttpResponse:
    """Make one new capsule of several of one end user's; the sources stay."""
    if len(call.body["capsule_ids"]) < 2:
        raise ApiError("bad_request", "At least 2 capsule_ids are required for merge")
    actor = call.principal.actor
    try:
        with scope(call.principal.organization_id):
            try:
                merged = capsules.merge(project_id=call.project, actor=actor, **call.body)
            except CapsuleNotFound as error:
                raise ApiError("bad_request", str(error)) from None  # as the engine answers here
            call.count_write(Meter.WRITE, end_user=merged.user_id)
    except QuotaReached as reached:
        kept = park_change(reached, ParkedWrite.Kind.MERGE, actor=actor, **call.body)
        return parked(kept, {"capsule_id": "", "type": "", "title": call.body["title"], "turn_count": 0})
    row = _row(merged)
    return reply({name: row[name] for name in ("capsule_id", "type", "title", "turn_count")})


@operation(
    "POST",
    "capsules/{capsule_id}/fork",
    Right.MEMORY_WRITE,
    body=(
        Text(name="new_user_id", low=1, high=limits.MAX_NAME_LENGTH, about="The end user who gets the copy."),
        Text(name="new_agent_id", default=None, low=1, high=limits.MAX_NAME_LENGTH),
        TAGS,
        OWNER,
    ),
    answer=CHANGED,
    is_parkable=True,
)
def fork_capsule(call: Call, capsule_id: str) -> HttpResponse:
    """Copy a capsule for another end user of the project."""
    actor, owner = call.principal.actor, call.body.pop("user_id")
    values = {"capsule_id": capsule_id, **call.body}
    try:
        with named_as_the_engine_does(capsule_id), scope(call.principal.organization_id):
            check_owner(call, capsule_id, owner)
            forked = capsules.fork(project_id=call.project, actor=actor, **values)
            call.count_write(Meter.WRITE, end_user=forked.user_id)
    except QuotaReached as reached:
        kept = park_change(reached, ParkedWrite.Kind.FORK, actor=actor, **values)
        return parked(kept, _state(forked) | {"capsule_id": ""})
    return reply(_state(forked))


@operation(
    "GET",
    "capsules/{capsule_id}/diff/{other_id}",
    Right.MEMORY_READ,
    query=(OWNER,),
    answer=shape(
        capsule_id_a=TEXT,
        capsule_id_b=TEXT,
        added_facts=many(ANYTHING),
        removed_facts=many(ANYTHING),
        modified_facts=many(ANYTHING),
        added_skills=many({}),
        removed_skills=many({}),
        summary_changed=FLAG,
        facts_delta=WHOLE,
    ),
)
def diff_capsules(call: Call, capsule_id: str, other_id: str) -> HttpResponse:
    """Compare two capsules: what the second has that the first has not, and the other way round."""
    with scope(call.principal.organization_id):
        for one in (capsule_id, other_id):
            check_owner(call, one, call.query["user_id"])
        found = selectors.diff(project_id=call.project, capsule_id_a=capsule_id, capsule_id_b=other_id)
        reads.note(call.reader, "diff", [capsule_id, other_id])
    call.count_read(Meter.READ)
    return reply(found)


@operation("PUT", "capsules/{capsule_id}/pin", Right.MEMORY_WRITE, query=(OWNER,), answer=CHANGED, is_parkable=True)
def pin_capsule(call: Call, capsule_id: str) -> HttpResponse:
    """Pin a capsule: it does not expire."""
    return _changed(call, capsules.set_pinned, ParkedWrite.Kind.PIN, capsule_id, is_pinned=True)


@operation("DELETE", "capsules/{capsule_id}/pin", Right.MEMORY_WRITE, query=(OWNER,), answer=CHANGED, is_parkable=True)
def unpin_capsule(call: Call, capsule_id: str) -> HttpResponse:
    """Let a pinned capsule go."""
    return _changed(call, capsules.set_pinned, ParkedWrite.Kind.PIN, capsule_id, is_pinned=False)


@operation(
    "PUT",
    "capsules/{capsule_id}/tags",
    Right.MEMORY_WRITE,
    query=(OWNER,),
    body=(Many(name="tags", of=Text(low=1, high=limits.MAX_NAME_LENGTH), high=limits.MAX_TAGS),),
    answer=CHANGED,
    is_parkable=True,
)
def tag_capsule(call: Call, capsule_id: str) -> HttpResponse:
    """Replace a capsule's tags."""
    return _changed(call, capsules.set_tags, ParkedWrite.Kind.TAG, capsule_id, tags=call.body["tags"])


@operation(
    "PUT",
    "capsules/{capsule_id}/expiry",
    Right.MEMORY_WRITE,
    query=(OWNER,),
    body=(Moment(name="expires_at", default=None, about="In the future; null takes the date away."),),
    answer=CHANGED,
    is_parkable=True,
)
def expire_capsule(call: Call, capsule_id: str) -> HttpResponse:
    """Date a capsule's end: from then on nobody sees it."""
    return _changed(call, capsules.set_expiry, ParkedWrite.Kind.EXPIRE, capsule_id, expires_at=call.body["expires_at"])


def _changed(call: Call, change: Any, kind: ParkedWrite.Kind, capsule_id: str, **values: Any) -> HttpResponse:
    actor = call.principal.actor
    try:
        with named_as_the_engine_does(capsule_id), scope(call.principal.organization_id):
            check_owner(call, capsule_id, call.query["user_id"])
            capsule = change(project_id=call.project, capsule_id=capsule_id, actor=actor, **values)
            call.count_write(Meter.WRITE, end_user=capsule.user_id)
    except QuotaReached as reached:
        kept = park_change(reached, kind, actor=actor, capsule_id=capsule_id, **values)
        return parked(kept, _state(capsule))
    return reply(_state(capsule))


def _row(capsule: Capsule) -> dict[str, Any]:
    return {
        "capsule_id": capsule.capsule_id,
        "type": capsule.capsule_type,
        "title": capsule.title,
        "tags": capsule.tags,
        "sealed_at": capsule.sealed_at,
        "turn_count": capsule.turn_count,
        "status": capsule.status,
    }


def _state(capsule: Capsule) -> dict[str, Any]:
    own = {"user_id": capsule.user_id, "is_pinned": capsule.is_pinned, "expires_at": capsule.expires_at}
    return _row(capsule) | own


OPERATIONS = (
    list_capsules,
    merge_capsules,
    get_capsule,
    delete_capsule,
    get_prompt_snippet,
    fork_capsule,
    diff_capsules,
    pin_capsule,
    unpin_capsule,
    tag_capsule,
    expire_capsule,
)
