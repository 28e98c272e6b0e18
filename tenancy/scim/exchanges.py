"""Keeps what directories sent and what we answered, without secrets, for as long as anybody looks back."""

import itertools
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import DatabaseError, transaction
from django.utils import timezone

from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.models import Exchange
from tenancy.scope import is_in_scope, scope, unscoped

KEPT_FOR = timedelta(days=30)
MOST_BYTES = 4_096  # kept of a body
LONGEST_TEXT = 300  # within a body
MOST_ITEMS = 50  # of a list or an object within a body
DEEPEST = 6
# Of a directory, the newest: whoever asks in a loop drives out no change and no failure, and does not fill the disk
MOST = {Exchange.Kind.READ: 1_000, Exchange.Kind.WRITE: 5_000, Exchange.Kind.FAILURE: 2_000}
TRIM_EVERY = 200  # of what a process records
ORGANIZATIONS = 1_000  # whose old ones a run deletes; the next goes on with the others
HIDDEN = "•••"
SECRET_NAMES = (
    "password",
    "secret",
    "token",
    "authorization",
    "credential",
    "apikey",
    "privatekey",
    "x509certificates",
)
READS = {"GET", "HEAD", "OPTIONS"}
_counter = itertools.count(1)
log = logging.getLogger("scim.exchanges")


def record(
    *,
    principal: DirectoryPrincipal,
    method: str,
    path: str,
    status: int,
    scim_type: str = "",
    request: Any = None,
    answer: Any = None,
    resource_type: str = "",
    resource_id: str = "",
    took_ms: int = 0,
) -> None:
    """Keep one exchange, in a savepoint of the request's transaction or in one of its own; it never fails.

    `request` and `answer` are JSON; `path` has the query.
    """
    done = Exchange.Kind.READ if method in READS else Exchange.Kind.WRITE
    try:
        here = transaction.atomic() if is_in_scope(principal.organization_id) else scope(principal.organization_id)
        with here:
            Exchange.objects.create(
                directory_id=principal.directory_id,
                kind=done if status < 400 else Exchange.Kind.FAILURE,
                token_hint=principal.hint,
                method=method[:8],
                path=_path(path),
                status=status,
                scim_type=scim_type[:32],
                request=kept(request),
                answer=kept(answer),
                resource_type=resource_type[:32],
                resource_id=_text(resource_id, 64),
                took_ms=took_ms,
            )
            if next(_counter) % TRIM_EVERY == 0:
                trim(principal.directory_id)
    except DatabaseError:  # also where the directory has been removed meanwhile
        log.exception("scim.exchange_lost organization=%s", principal.organization_id)


def kept(body: Any) -> Any:
    """A body as the log has it: secrets hidden, long texts and lists cut, and of what is still too large the start."""
    shown = _shown(body, DEEPEST)
    text = orjson.dumps(shown, option=orjson.OPT_PASSTHROUGH_SUBCLASS, default=str)
    if len(text) <= MOST_BYTES:
        return shown
    return {"…": text[: MOST_BYTES // 2].decode(errors="ignore")}


def trim(directory_id: UUID) -> int:
    """Delete what a directory of the organization in scope has beyond MOST; how many."""
    deleted = 0
    for kind, most in MOST.items():
        mine = Exchange.objects.filter(directory_id=directory_id, kind=kind)
        beyond = mine.order_by("-id").values_list("pk", flat=True)[most : most + 1].first()
        if beyond is not None:
            deleted += mine.filter(pk__lte=beyond).delete()[0]
    return deleted


def forget_due() -> int:
    """Delete what is older than KEPT_FOR, of every organization; how many. One that fails does not keep the others."""
    with unscoped(reason="what directories of every organization sent grows old") as wide:
        rows = wide.rows("scim_exchanges_old", KEPT_FOR, ORGANIZATIONS)
    deleted = 0
    for row in rows:
        try:
            with scope(row["organization_id"]):
                deleted += Exchange.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).delete()[0]
        except DatabaseError:
            log.exception("scim.forgetting_failed organization=%s", row["organization_id"])
    return deleted


def _shown(value: Any, depth: int) -> Any:
    if isinstance(value, bool | None):
        return value
    if isinstance(value, int | float):
        return value if abs(value) < 2**53 else _text(str(value), LONGEST_TEXT)  # neither is NaN, which is no JSON
    if isinstance(value, Mapping | list | tuple) and depth == 0:
        return "…"
    if isinstance(value, Mapping):
        hides_value = _is_secret(str(value.get("path", "")))  # of a PATCH operation
        return {
            _text(str(name), 100): HIDDEN
            if _is_secret(name) or (hides_value and name == "value")
            else _shown(one, depth - 1)
            for name, one in itertools.islice(value.items(), MOST_ITEMS)
        }
    if isinstance(value, list | tuple):
        shown = [_shown(one, depth - 1) for one in value[:MOST_ITEMS]]
        return shown if len(value) <= MOST_ITEMS else [*shown, f"… {len(value) - MOST_ITEMS} more"]
    return _text(str(value), LONGEST_TEXT)


def _path(path: str) -> str:
    before, mark, query = path.partition("?")
    return _text(f"{before}?{HIDDEN}" if mark and _is_secret(query) else path, 500)


def _is_secret(name: str) -> bool:
    plain = name.lower().replace("_", "").replace("-", "")
    return any(secret in plain for secret in SECRET_NAMES)


def _text(value: str, longest: int) -> str:
    clean = value.replace("\0", "\ufffd").encode(errors="replace").decode()
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"
