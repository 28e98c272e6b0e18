"""Deletes the files of exports that have expired, and what workers that were killed have left behind."""

import contextlib
import logging
import shutil
import time
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from capsule_cloud.lib import storage
from tenancy.audit.exports.models import WRITTEN, Export
from tenancy.audit.exports.turns import NotMine
from tenancy.audit.exports.writing import KEPT, alone_in
from tenancy.scope import scope, unscoped

AT_ONCE = 100
LEFT_ALONE = 3_600.0  # seconds without a change after which a folder is taken for left behind
log = logging.getLogger("audit.exports")


def tidy() -> int:
    """Delete what is over; returns how many exports that were. No transaction may be open."""
    ended = 0
    while True:
        with unscoped(reason="exports of every organization expire") as wide:
            rows = wide.rows("audit_exports_expired", timezone.now(), AT_ONCE)
        done = sum(_expire(row["organization_id"], row["export_id"]) for row in rows)
        ended += done
        if len(rows) < AT_ONCE or not done:
            break
    _sweep()
    return ended


def _expire(organization_id: UUID, export_id: UUID) -> bool:
    with scope(organization_id):
        export = Export.objects.filter(pk=export_id).first()
    if export is None:
        return False
    try:
        for one in reversed(export.files):
            storage.own().delete(f"{export.folder}/{one['name']}")
    except storage.StorageError as error:
        log.warning("audit.export_not_deleted export=%s why=%s", export_id, error)
        return False
    with scope(organization_id):
        ready = Export.objects.filter(pk=export_id, state__in=WRITTEN)
        ready.update(state=Export.State.EXPIRED, leased_until=None)
    return True


def _sweep() -> None:
    """Delete folders of exports that nobody writes any more; where files are kept, what no row tells of any more."""
    root, now = Path(settings.EXPORTS_DIR), time.time()
    for folder in _children(root / "part"):
        newest = max((_touched(one) for one in _children(folder)), default=_touched(folder))
        if now - newest > LEFT_ALONE:
            with contextlib.suppress(NotMine, OSError), alone_in(folder):
                shutil.rmtree(folder)
    for folder in _children(root / "kept"):
        if now - _touched(folder) > KEPT.total_seconds() + 86_400:
            shutil.rmtree(folder, ignore_errors=True)


def _children(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def _touched(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return time.time()
