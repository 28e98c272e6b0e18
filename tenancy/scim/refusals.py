"""Tells an organization of requests by its directories that tried what they may not, or what nobody needs.

Whatever else fails stands in the directory's log.
"""

from http import HTTPStatus

from tenancy.audit import actions
from tenancy.audit.attempts.services import attempt
from tenancy.audit.services import Target
from tenancy.scim.directories.tokens import DirectoryPrincipal

TOLD = {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.TOO_MANY_REQUESTS}
FILTER = "invalidFilter"
ENDPOINTS = {"Users", "Groups", "Me", "Bulk", ".search", "Schemas", "ResourceTypes", "ServiceProviderConfig"}


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
