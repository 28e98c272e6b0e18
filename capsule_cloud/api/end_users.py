"""The customer's end users: who is remembered, and forgetting one altogether."""

from dataclasses import asdict

from django.http import HttpResponse

from billing.metering.meters import Meter
from billing.quotas import parking
from capsule_cloud.api.fields import Text, Whole
from capsule_cloud.api.operations import Call, operation, reply
from capsule_cloud.api.shapes import MOMENT_OR_NULL, TEXT, WHOLE, many, shape
from capsule_cloud.memory import limits
from capsule_cloud.memory.selectors import capsules as selectors
from tenancy.roles import Right
from tenancy.scope import scope


@operation(
    "GET",
    "users",
    Right.MEMORY_READ,
    query=(
        Text(name="starts_with", default="", high=limits.MAX_NAME_LENGTH),
        Whole(name="limit", default=50, low=1, high=200),
    ),
    answer=shape(users=many(shape(user_id=TEXT, capsules=WHOLE, last_sealed_at=MOMENT_OR_NULL)), count=WHOLE),
)
def list_users(call: Call) -> HttpResponse:
    """List the end users who have capsules, those with most first."""
    with scope(call.principal.organization_id):
        found = selectors.end_users(project_id=call.project, **call.query)
    call.count_read(Meter.READ)
    return reply({"users": [asdict(user) for user in found], "count": len(found)})


@operation(
    "DELETE",
    "users/{+user_id}",
    Right.MEMORY_DELETE,
    answer=shape(user_id=TEXT, capsules=WHOLE, sessions=WHOLE, turns=WHOLE, triggers=WHOLE),
    is_way_out=True,
)
def delete_user(call: Call, user_id: str) -> HttpResponse:
    """Delete everything that is remembered of an end user, and say exactly how much that was."""
    with scope(call.principal.organization_id):
        deleted = parking.delete_user(project_id=call.project, user_id=user_id, actor=call.principal.actor)
        call.count_write(Meter.DELETE)
    return reply(asdict(deleted))


OPERATIONS = (list_users, delete_user)
