"""Writes events in the transaction of what they describe; an organization without endpoints pays one short question."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import uuid_utils.compat as uuid_utils
from django.utils import timezone

from tenancy.scope import current_organization_id, preparing_cursor
from tenancy.webhooks.catalogue import VERSION, EventType


def emit(kind: EventType, *, data: Mapping[str, Any], key: str, project_id: UUID | None = None) -> int:
    """Tell the endpoints of the organization in scope that want it; returns how many deliveries there are new.

    Call it in the transaction of what happened: both are there, or neither. `key` names the occurrence within the
    organization, at most 200 characters: a second call with it is none. The data are checked against the catalogue
    (raises Unfit) and then never change: ids, numbers and words, no content of memories and no secrets.

    A new endpoint waits until this transaction has ended, and is told what later ones emit: nothing is remembered here
    of who listens, because whoever was asked a moment ago may be answered already.
    """
    organization_id = current_organization_id()
    if not has_listeners():
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


def has_listeners() -> bool:
    """Whether the organization in scope has an endpoint that is told anything, until this transaction ends."""
    with preparing_cursor() as cursor:
        cursor.execute("SELECT webhooks_listens(%s)", [current_organization_id()])
        [(is_told,)] = cursor.fetchall()
    return bool(is_told)
