"""Reads the directories of the organization in scope: their tokens, whom they brought, and what they sent."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Q

from tenancy.errors import NotFound
from tenancy.models import User
from tenancy.scim.directories.remedies import Reason, explain
from tenancy.scim.models import Directory, DirectoryGroup, DirectoryToken, DirectoryUser, Exchange

LOOKED_AT = 500  # of the last failures, to sum them up
SHOWN_FAILURES = 20  # kinds of them


@dataclass(frozen=True, slots=True)
class Counted:
    """How many users and groups a directory keeps here."""

    users: int
    active: int
    groups: int


@dataclass(frozen=True, slots=True)
class Failures:
    """Requests that failed in one way: how many of the last ones, the newest of them, and what helps."""

    count: int
    newest: Exchange
    detail: str
    reason: Reason


def directories() -> list[Directory]:
    """Every one, the oldest first."""
    return list(Directory.objects.order_by("id"))


def directory(directory_id: UUID) -> Directory:
    """One of them. Raises NotFound."""
    found = Directory.objects.select_related("keys_go_to").filter(pk=directory_id).first()
    if found is None:
        raise NotFound("There is no such directory.")
    return found


def counted(directory_id: UUID) -> Counted:
    """What a directory keeps here."""
    users = DirectoryUser.objects.filter(directory=directory_id).aggregate(
        users=Count("pk"), active=Count("pk", filter=Q(is_active=True))
    )
    return Counted(groups=DirectoryGroup.objects.filter(directory=directory_id).count(), **users)


def tokens(directory_id: UUID) -> list[DirectoryToken]:
    """Every token, the newest first; those that are over, too."""
    return list(DirectoryToken.objects.filter(directory=directory_id).order_by("-id"))


def users(directory_id: UUID, *, text: str = "", after: UUID | None = None, limit: int) -> list[DirectoryUser]:
    """Users of a directory by age, after one of them; those alone whose name or address has the text."""
    rows = DirectoryUser.objects.filter(directory=directory_id).select_related("user")
    if text:
        rows = rows.filter(Q(user_name__icontains=text) | Q(email__icontains=text))
    if after is not None:
        rows = rows.filter(pk__gt=after)
    return list(rows.order_by("id")[:limit])


def exchanges(
    directory_id: UUID,
    *,
    kind: str = "",
    resource: str = "",
    since: datetime | None = None,
    before: UUID | None = None,
    limit: int,
) -> list[Exchange]:
    """What a directory sent, the newest first, before one of them; of one kind, about one type or id of resources."""
    rows = Exchange.objects.filter(directory=directory_id)
    if kind:
        rows = rows.filter(kind=kind)
    if resource:
        rows = rows.filter(Q(resource_type=resource) | Q(resource_id=resource))
    if since is not None:
        rows = rows.filter(created_at__gte=since)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    return list(rows.order_by("-id")[:limit])


def exchange(directory_id: UUID, exchange_id: UUID) -> Exchange:
    """One exchange of a directory. Raises NotFound."""
    found = Exchange.objects.filter(directory=directory_id, pk=exchange_id).first()
    if found is None:
        raise NotFound("There is no such exchange.")
    return found


def failures(directory_id: UUID) -> list[Failures]:
    """In which ways the last requests failed, the most frequent first, each with what helps."""
    last = exchanges(directory_id, kind=Exchange.Kind.FAILURE, limit=LOOKED_AT)
    ways = Counter((one.status, one.scim_type, detail_of(one)) for one in last)
    newest = {(one.status, one.scim_type, detail_of(one)): one for one in reversed(last)}
    return [
        Failures(count, newest[way], way[2], explain(way[0], way[1])) for way, count in ways.most_common(SHOWN_FAILURES)
    ]


def detail_of(exchange: Exchange) -> str:
    """What we said of an error, as RFC 7644 has it; '' where nothing went wrong."""
    answer = exchange.answer
    detail = answer.get("detail") if isinstance(answer, dict) else ""
    return detail if exchange.status >= 400 and isinstance(detail, str) else ""


def has_left(user: User) -> bool:
    """Whether somebody left by every directory of the organization in scope that knows them."""
    states = set(DirectoryUser.objects.filter(user=user).values_list("is_active", flat=True))
    return states == {False}
