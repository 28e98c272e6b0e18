"""Actions about provisioning: directories, their tokens, and whom they bring and take."""

from tenancy.audit.catalogue.action import FLAG, ID, MOMENT, TEXT, WHOLE, Action, Kind, Severity, many, maybe

_DIRECTORY = {"name": TEXT, "kind": TEXT, "default_role": TEXT, "keys_go_to": ID, "is_on": FLAG}
DIRECTORY_ADDED = Action(
    "scim.directory.added", "added a directory", Kind.CREATE, changes=_DIRECTORY, severity=Severity.MEDIUM
)
DIRECTORY_CHANGED = Action(
    "scim.directory.changed", "changed a directory", Kind.UPDATE, changes=_DIRECTORY, severity=Severity.MEDIUM
)
DIRECTORY_REMOVED = Action(
    "scim.directory.removed", "removed a directory", Kind.DELETE, changes=_DIRECTORY, severity=Severity.HIGH
)
_TOKEN = {"token": TEXT}
DIRECTORY_TOKEN_CREATED = Action(
    "scim.token.created",
    "created a token of a directory",
    Kind.CREATE,
    has={**_TOKEN, "expires_at": maybe(MOMENT)},
    severity=Severity.MEDIUM,
)
DIRECTORY_TOKEN_ROTATED = Action(
    "scim.token.rotated",
    "replaced a token of a directory",
    Kind.UPDATE,
    has={**_TOKEN, "successor": TEXT},
    changes={"expires_at": MOMENT},
    severity=Severity.MEDIUM,
)
DIRECTORY_TOKEN_REVOKED = Action(
    "scim.token.revoked", "revoked a token of a directory", Kind.DELETE, has=_TOKEN, severity=Severity.MEDIUM
)
PERSON_LINKED = Action(
    "scim.person.linked",
    "found or made the account of somebody in a directory",
    Kind.ACCOUNT_CHANGED,
    has={"is_new_account": FLAG},
    severity=Severity.MEDIUM,
)
DIRECTORY_REFUSED = Action(
    "scim.request.refused",
    "sent a request that was refused",
    Kind.API_OTHER,
    has={"method": TEXT, "path": TEXT, "status": WHOLE, "code": TEXT},
    severity=Severity.MEDIUM,
    is_failure=True,
)
RIGHTS_PASSED_OVER = Action(
    "scim.rights.passed_over",
    "said of somebody which rights they shall have: nothing but groups that are mapped gives any, so nothing was given",
    Kind.API_OTHER,
    has={"method": TEXT, "attributes": many(TEXT)},
    severity=Severity.MEDIUM,
    is_failure=True,
)
LAST_OWNER_KEPT = Action(
    "scim.last_owner.kept",
    "would have taken the organization's last owner away, and was refused",
    Kind.LEAVE,
    severity=Severity.CRITICAL,
    is_failure=True,
)
