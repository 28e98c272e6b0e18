"""Reads exports of the organization in scope, and makes the links that their files are behind."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.core import signing
from django.utils import timezone

from capsule_cloud.lib import storage
from tenancy.audit.exports.models import Export, Schedule, Target
from tenancy.errors import NotFound

LINK_LASTS = timedelta(hours=1)
_SALT = "audit.exports.link"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of an export, as it can be read: in pieces, from anywhere."""

    export: Export
    name: str
    size: int
    sha256: str

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to, without, `end`. No transaction may be open. Raises StorageError."""
        return storage.own().read(f"{self.export.folder}/{self.name}", start, end)


def exports(*, before: UUID | None = None, limit: int = 50) -> list[Export]:
    """The newest exports, older than the id `before`."""
    rows = Export.objects.select_related("target", "schedule").order_by("-id")
    if before is not None:
        rows = rows.filter(id__lt=before)
    return list(rows[:limit])


def export(export_id: UUID) -> Export:
    """One export. Raises NotFound."""
    found = Export.objects.select_related("target", "schedule").filter(pk=export_id).first()
    if found is None:
        raise NotFound("There is no such export.")
    return found


def targets() -> list[Target]:
    """Every store, the oldest first."""
    return list(Target.objects.order_by("id"))


def schedules() -> list[Schedule]:
    """Every schedule, the oldest first."""
    return list(Schedule.objects.select_related("target").order_by("id"))


def is_offered(export: Export) -> bool:
    """Whether its files can be had now."""
    return export.is_written and export.expires_at is not None and export.expires_at > timezone.now()


def file(export_id: UUID, name: str, link: str) -> Stored:
    """A file of an export, for who has a link to it that is still good. Raises NotFound for anything else."""
    found = export(export_id)
    described = next((one for one in found.files if one["name"] == name), None)
    if described is None or not is_offered(found) or not _is_good(link, found, name):
        raise NotFound("There is no such file, or the link to it is over: open the export again for a new one.")
    return Stored(found, name, described["bytes"], described["sha256"])


def link_to(export: Export, name: str) -> tuple[str, datetime]:
    """The word that opens a file, and until when. It opens nothing for who may not export the organization's log."""
    until = timezone.now() + LINK_LASTS
    return signing.dumps([export.pk.hex, name, int(until.timestamp())], salt=_SALT), until


def _is_good(link: str, export: Export, name: str) -> bool:
    try:
        said = signing.loads(link, salt=_SALT)
    except signing.BadSignature:
        return False
    return bool(said[:2] == [export.pk.hex, name] and said[2] > timezone.now().timestamp())
