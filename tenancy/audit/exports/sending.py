"""Puts exports into the stores of customers, the manifest last, until that works or has failed for days."""

import contextlib
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from capsule_cloud.lib import storage
from tenancy.audit import actions
from tenancy.audit.exports import targets
from tenancy.audit.exports.models import Export, Target
from tenancy.audit.exports.turns import Turn, target_of
from tenancy.audit.services import SYSTEM, record

PAUSES = (60, 300, 1_800, 7_200, 21_600, 43_200, 86_400)  # seconds after a failure
MOST_ATTEMPTS = len(PAUSES) + 1


def send(turn: Turn) -> None:
    """Put one export into its store, or write down why that failed. Raises NotMine."""
    with turn.scope():
        export = Export.objects.select_related("target").get(pk=turn.export_id)
    target = export.target
    if target is None:
        _settle(turn, export, None, "The store was deleted.")
        return
    try:
        destination = targets.opened(target)
        for one in export.files:
            turn.keep()
            with _at_hand(export, one["name"]) as path:
                destination.put(one["name"], path)
    except storage.StorageError as error:
        _settle(turn, export, target, str(error))
    else:
        _settle(turn, export, target, "")


@contextlib.contextmanager
def _at_hand(export: Export, name: str) -> Iterator[Path]:
    """A file of an export as one on this machine."""
    store, key = storage.own(), f"{export.folder}/{name}"
    if isinstance(store, storage.Folder):
        yield store.root / key
        return
    size = store.size(key)
    if size is None:
        raise storage.StorageError("missing", "The export's files are gone: ask for it again.")
    Path(settings.EXPORTS_DIR).mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=settings.EXPORTS_DIR) as copy:
        for piece in store.read(key, 0, size):
            copy.write(piece)
        copy.flush()
        yield Path(copy.name)


def _settle(turn: Turn, export: Export, target: Target | None, failure: str) -> None:
    with turn.scope():
        now = timezone.now()
        said = {"kind": target.kind, "place": target.place} if target else {"kind": "", "place": ""}
        if not failure:
            turn.say(state=Export.State.READY, sent_at=now, send_failure="")
            record(action=actions.EXPORT_SENT, actor=SYSTEM, target=target_of(export), metadata=said)
        elif target is None or turn.attempts >= MOST_ATTEMPTS:
            turn.say(state=Export.State.READY, send_failure=failure)
            record(action=actions.EXPORT_NOT_SENT, actor=SYSTEM, target=target_of(export), metadata=said)
        else:
            pause = timedelta(seconds=PAUSES[turn.attempts - 1])
            turn.say(send_failure=failure, due_at=now + pause)
        if target is not None:
            targets.remember(target.pk, failure)
        Export.objects.filter(pk=export.pk).update(leased_until=None)
