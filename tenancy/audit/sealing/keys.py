"""The keys that sign checkpoints: made, replaced with an overlap, given up when lost; every public half stays known."""

import logging
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from capsule_cloud.lib import crypto
from tenancy.audit.sealing import notes
from tenancy.audit.sealing.models import Log, SigningKey

OVERLAP = timedelta(days=7)  # both sign, so that whoever knows either key can verify
log = logging.getLogger("audit.sealing")


def signers() -> list[notes.Signer]:
    """The pairs that sign now, the oldest first; the first one ever is made here. Raises crypto.Unreadable.

    One that cannot be opened is left out and said in the log: that is an accident, see the runbook of a lost key.
    """
    now = timezone.now()
    active = list(SigningKey.objects.filter(Q(ends_at=None) | Q(ends_at__gt=now)).order_by("id"))
    if not active:
        active = [_make()]
    found = []
    for key in active:
        try:
            found.append(notes.Signer(bytes(key.public), _private(bytes(key.sealed_private or b""))))
        except crypto.Unreadable:
            log.error("audit.signing_key_unreadable key=%s", key)
    if not found:
        raise crypto.Unreadable("No signing key of the audit trail can be opened: see docs/runbooks/audit-keys.md.")
    return found


@lru_cache(maxsize=8)
def _private(sealed: bytes) -> bytes:
    return crypto.unseal(sealed)


def rotate(*, end: SigningKey.End = SigningKey.End.REPLACED, overlap: timedelta = OVERLAP) -> SigningKey:
    """Begin with a new key. The one before signs on for `overlap`; one that was lost or stolen ends at once."""
    with transaction.atomic():
        _lock()
        now = timezone.now()
        ends_at = now + overlap if end == SigningKey.End.REPLACED else now
        for key in SigningKey.objects.filter(Q(ends_at=None) | Q(ends_at__gt=now)):
            key.ends_at = min(key.ends_at or ends_at, ends_at)
            key.end = end
            if end != SigningKey.End.REPLACED:
                key.sealed_private = None
                key.log_size = Log.objects.get().size
            key.save()
        return SigningKey.objects.create(**_pair())


def destroy_ended() -> int:
    """Forget the private halves of keys that have ended; returns how many."""
    ended = SigningKey.objects.filter(ends_at__lte=timezone.now(), sealed_private__isnull=False)
    return ended.update(sealed_private=None)


def published() -> list[dict[str, Any]]:
    """Every key ever used, the oldest first, for everybody."""
    now = timezone.now()
    return [
        {
            "public_key": notes.encoded(bytes(key.public)),
            "state": _state(key, now),
            "begins_at": key.begins_at,
            "ends_at": key.ends_at,
            "log_size": key.log_size,
        }
        for key in SigningKey.objects.order_by("id")
    ]


def public_halves() -> list[bytes]:
    """Of every key ever used, the oldest first."""
    return [bytes(one) for one in SigningKey.objects.order_by("id").values_list("public", flat=True)]


def _state(key: SigningKey, now: datetime) -> str:
    """`signs`, or why it does no more."""
    return "signs" if key.ends_at is None or key.ends_at > now else key.end


def _make() -> SigningKey:
    with transaction.atomic():
        _lock()
        return SigningKey.objects.filter(ends_at=None).first() or SigningKey.objects.create(**_pair())


def _pair() -> dict[str, bytes]:
    private = crypto.new_signing_key()
    return {"public": crypto.public_key(private), "sealed_private": crypto.seal(private)}


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('audit_sealing_keys'))")
