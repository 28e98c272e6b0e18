"""Makes a POST with an `Idempotency-Key` happen once: its answer is stored with its effect and replayed for a day."""

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.models import IdempotencyKey
from capsule_cloud.lib import crypto
from tenancy.access import KeyPrincipal
from tenancy.scope import scope, unscoped

HEADER, META_NAME = "Idempotency-Key", "HTTP_IDEMPOTENCY_KEY"
KEPT = timedelta(hours=24)
PURGE_BATCH = 1000
IN_FLIGHT = 0  # the status of a row whose answer is still to come
GIVEN_UP = timedelta(minutes=2)  # longer than any call out takes: whoever wrote the row is dead
_name = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


def once(request: HttpRequest, principal: KeyPrincipal, perform: Callable[[], HttpResponse]) -> HttpResponse:
    """The answer of `perform`, or the one that the same request got before.

    Effect and answer are one transaction: a crash leaves neither. A refusal, which `perform` raises, undoes the effect
    and is not kept, so that a corrected request may use the key again. Raises `request_in_flight`,
    `idempotency_key_reused` or `invalid_idempotency_key`.
    """
    name = _name_of(request)
    fingerprint = _fingerprint(request)
    with scope(principal.organization_id):
        known = _known(principal, name)
        if known is not None:
            return _replay(known, fingerprint)
        response = perform()
        _keep(IdempotencyKey(key_id=principal.key_id, name=name, fingerprint=fingerprint), response)
    return response


def once_outside(request: HttpRequest, principal: KeyPrincipal, perform: Callable[[], HttpResponse]) -> HttpResponse:
    """As `once`, for a `perform` that asks another service, which no transaction may be open for.

    A row says that it is under way. If it dies, the key may be used again after two minutes; what it asked for must
    bear repetition by itself.
    """
    name = _name_of(request)
    fingerprint = _fingerprint(request)
    row = IdempotencyKey(
        key_id=principal.key_id, name=name, fingerprint=fingerprint, status=IN_FLIGHT, sealed_answer=b""
    )
    with scope(principal.organization_id):
        known = _known(principal, name)
        if known is not None and known.status == IN_FLIGHT and known.created_at > timezone.now() - GIVEN_UP:
            raise ApiError("request_in_flight", headers={"Retry-After": "5"})
        if known is not None and known.status != IN_FLIGHT:
            return _replay(known, fingerprint)
        if known is not None:
            known.delete()
        row.save(force_insert=True)
    try:
        response = perform()
    except Exception:
        with scope(principal.organization_id):
            row.delete()
        raise
    with scope(principal.organization_id):
        _keep(row, response)
    return response


def _name_of(request: HttpRequest) -> str:
    name: str = request.META[META_NAME]
    if not _name.fullmatch(name):
        raise ApiError("invalid_idempotency_key")
    return name


def _known(principal: KeyPrincipal, name: str) -> IdempotencyKey | None:
    """What is kept of the key's request, locked until the transaction ends. Raises `request_in_flight`."""
    if not _try_lock(f"{principal.key_id}/{name}"):
        raise ApiError("request_in_flight", headers={"Retry-After": "1"})
    known = IdempotencyKey.objects.filter(key_id=principal.key_id, name=name).first()
    if known is not None and known.created_at < timezone.now() - KEPT:
        known.delete()
        return None
    return known


def _keep(row: IdempotencyKey, response: HttpResponse) -> None:
    row.status = response.status_code
    row.content_type = response.headers.get("Content-Type", "")
    row.sealed_answer = crypto.seal(response.content)
    row.save()


def purge() -> int:
    """Delete a batch of answers older than a day, of every organization; returns how many there were."""
    with unscoped(reason="stored answers end with their day, whoever got them") as wide:
        rows = wide.rows("api_purge_idempotency_keys", timezone.now() - KEPT, PURGE_BATCH)
    return int(rows[0]["purged"])


def _replay(known: IdempotencyKey, fingerprint: bytes) -> HttpResponse:
    if bytes(known.fingerprint) != fingerprint:
        raise ApiError("idempotency_key_reused")
    return HttpResponse(
        crypto.unseal(known.sealed_answer),
        status=known.status,
        content_type=known.content_type,
        headers={"Idempotent-Replayed": "true"},
    )


def _fingerprint(request: HttpRequest) -> bytes:
    digest = hashlib.sha256()
    for part in (request.method or "", request.path, request.META.get("QUERY_STRING", "")):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\n")
    # Clients make up another boundary for each form that they send: the same form again is the same request.
    boundary = (request.content_params or {}).get("boundary", "").encode("utf-8", "replace")
    digest.update(request.body.replace(boundary, b"") if boundary else request.body)
    return digest.digest()


def _try_lock(what: str) -> bool:
    number = int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest(), signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone() == (True,))
