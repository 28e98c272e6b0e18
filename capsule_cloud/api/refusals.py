"""Tells the organizations of refused requests: what a key may not do, too many requests, keys that have ended."""

import re

from django.http import HttpRequest

from capsule_cloud.api.errors import ApiError, surface_of
from tenancy.access import ForbiddenAddress, InvalidKey, KeyPrincipal, dead_key
from tenancy.audit import actions
from tenancy.audit.attempts.services import attempt
from tenancy.audit.services import Target

WORD = re.compile(r"[a-z-]{1,32}")
DENIED = {"missing_scope", "forbidden", "address_not_allowed", "origin_not_allowed"}


def tell(request: HttpRequest, error: Exception, refusal: ApiError, principal: KeyPrincipal | None) -> None:
    """Record a refusal for the organization whose key was used, if it is one that somebody should hear of.

    Call it outside of any transaction: what was refused has been undone.
    """
    if isinstance(error, InvalidKey):
        _tell_of_dead_key(request)
        return
    if isinstance(error, ForbiddenAddress):
        principal = error.principal
    if principal is None:
        return
    route = {"method": str(request.method), "path": route_of(request)}
    if refusal.code == "rate_limited":
        action, metadata = actions.RATE_LIMITED, route
    elif refusal.code in DENIED:
        action, metadata = actions.ACCESS_DENIED, {"code": refusal.code, **route}
    else:
        return
    attempt(
        organization_id=principal.organization_id,
        action=action,
        actor=principal.actor,
        target=Target("api", route["path"], route["path"]),
        metadata=metadata,
    )


def _tell_of_dead_key(request: HttpRequest) -> None:
    key = dead_key(request.META.get("HTTP_AUTHORIZATION", ""))
    if key is not None:
        attempt(
            organization_id=key.organization_id,
            action=actions.DEAD_KEY_USED,
            actor=key.actor,
            target=Target(key.actor.kind, key.actor.id, key.actor.label),
            metadata={"why": key.why},
        )


def route_of(request: HttpRequest) -> str:
    """The beginning of the address, without ids: they are the customer's free text."""
    surface = surface_of(request.path_info)
    prefix = surface.prefix if surface else ""
    first = request.path_info[len(prefix) :].split("/")[1:2]
    return "/".join([prefix, *(one for one in first if WORD.fullmatch(one))])
