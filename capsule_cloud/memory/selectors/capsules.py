"""Reads capsules of one project."""

from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from capsule_cloud.memory.models import Capsule


def visible(project_id: UUID, *, user_id: str | None = None) -> QuerySet[Capsule]:
    """The project's capsules that have not expired; of one end user when given."""
    rows: QuerySet[Capsule] = Capsule.objects.filter(project_id=project_id)
    rows = rows.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    return rows if user_id is None else rows.filter(user_id=user_id)
