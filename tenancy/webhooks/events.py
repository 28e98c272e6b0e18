"""Writes events in the transaction of what they describe; an organization without endpoints pays nothing for it."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import uuid_utils.compat as uuid_utils
from django.utils import timezone

from tenancy.scope import current_organization_id, preparing_cursor
from tenancy.webhooks.catalogue import VERSION, EventType
from tenancy.webhooks.models import Endpoint

KNOWN_SECONDS = 5.0  # how long a process takes for true that an organization has no endpoint
MOST_KNOWN = 10_000
_silent: dict[UUID, float] = {}  # organizations without endpoints, and when that was read


def emit(kind: EventType, *, data: Mapping[str, Any], key: str, project_id: UUID | None = None) -> int:
    """Tell the endpoints of the organization in scope that want it; returns how many deliveries there are new.

    Call it in the transaction of what happened: both are there, or neither. `key` names the occurrence within the
    organization, at most 200 characters: a second call with it is none. The data are checked against the catalogue
    (raises Unfit) and then never change: ids, numbers and words, no content of memories and no secrets.
    """
    organization_id = current_organization_id()
    if is_silent(organization_id):
        return 0
    event_id, now = uuid_utils.uuid7(), timezone.now()
    body = body_of(kind, event_id, data=data, organization_id=organization_id, project_id=project_id, at=now)
    with preparing_cursor() as cursor:
        cursor.execute(
            "SELECT webhooks_emit(%s, %s, %s, %s, %s, %s, %s)",
            [organization_id, event_id, project_id, kind.name, key, body, now],
        )
        [(count,)] = cursor.fetchall()
    return int(count)


def body_of(
    kind: EventType,
    event_id: UUID,
    *,
    data: Mapping[str, Any],
    organization_id: UUID,
    project_id: UUID | None,
    at: datetime,
) -> str:
    """The JSON that endpoints get, the same bytes at every attempt. Raises Unfit."""
    plain = orjson.loads(orjson.dumps(data, option=orjson.OPT_UTC_Z))  # ids and times as text
    kind.check(plain)
    whole = {
        "id": event_id,
        "type": kind.name,
        "timestamp": at,
        "api_version": VERSION,
        "organization_id": organization_id,
        "project_id": project_id,
        "data": plain,
    }
    return orjson.dumps(whole, option=orjson.OPT_UTC_Z).decode()


def is_silent(organization_id: UUID) -> bool:
    """Whether the organization in scope has no endpoint that is told anything, as of at most KNOWN_SECONDS ago."""
    now = time.monotonic()
    if _silent.get(organization_id, -KNOWN_SECONDS) + KNOWN_SECONDS > now:
        return True
    if Endpoint.objects.filter(state__in=(Endpoint.State.ACTIVE, Endpoint.State.PAUSED)).exists():
        return False
    if len(_silent) >= MOST_KNOWN:
        _silent.clear()
    _silent[organization_id] = now
    return True


def forget(organization_id: UUID) -> None:
    """Ask anew at the next event, in this process: the organization's endpoints have changed."""
    _silent.pop(organization_id, None)
