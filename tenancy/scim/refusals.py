"""Tells an organization of requests by its directories that tried what they may not, or what nobody needs.

Whatever else fails stands in the directory's log.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from tenancy.audit import actions
from tenancy.audit.attempts.services import attempt
from tenancy.audit.services import Target
from tenancy.scim.directories.tokens import DirectoryPrincipal

TOLD = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.TOO_MANY_REQUESTS}
FILTER = "invalidFilter"
ENDPOINTS = {"Users", "Groups", "Me", "Bulk", ".search", "Schemas", "ResourceTypes", "ServiceProviderConfig"}
# What elsewhere would be rights, as directories spell it; here it is kept as the directory's words, or dropped
RIGHTS = {
    *("role", "roles", "entitlements", "permissions"),
    *("isstaff", "issuperuser", "isadmin", "isowner", "admin", "owner"),
}


def tell(principal: DirectoryPrincipal, *, method: str, path: str, status: int, code: str = "") -> None:
    """Record a refusal, if it is one to hear of; call it outside of any transaction: what was refused is undone."""
    if status not in TOLD and code != FILTER:
        return
    endpoint = path.strip("/").partition("/")[0]
    attempt(
        organization_id=principal.organization_id,
        action=actions.DIRECTORY_REFUSED,
        actor=principal.actor,
        target=Target("directory", str(principal.directory_id), principal.name),
        metadata={
            "method": method[:8],
            "path": f"/{endpoint}" if endpoint in ENDPOINTS else "/",  # the rest is the client's free text
            "status": int(status),
            "code": code,
        },
    )


def tell_rights(principal: DirectoryPrincipal, *, method: str, said: Any) -> None:
    """Record that a request that was served says which rights a user has; it gives none. Call it likewise."""
    names = sorted({name for name in _names(said) if name.replace("_", "").lower() in RIGHTS})
    if not names:
        return
    attempt(
        organization_id=principal.organization_id,
        action=actions.RIGHTS_PASSED_OVER,
        actor=principal.actor,
        target=Target("directory", str(principal.directory_id), principal.name),
        metadata={"method": method[:8], "attributes": names},
    )


def _names(said: Any) -> Iterator[str]:
    """The attributes that a body names: a resource's, and those in the operations of a PATCH or a bulk request."""
    if not isinstance(said, dict):
        return
    yield from (name for name in said if isinstance(name, str))
    operations = next((value for name, value in said.items() if str(name).lower() == "operations"), None)
    for one in operations if isinstance(operations, list) else ():
        if isinstance(one, dict):
            path = one.get("path")
            yield str(path).partition("[")[0].partition(".")[0].rpartition(":")[2]
            yield from _names(one.get("value"))
            yield from _names(one.get("data"))
