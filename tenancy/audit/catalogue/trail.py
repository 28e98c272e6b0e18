"""Actions about the trail itself, about our staff, and about what was tried and refused."""

from tenancy.audit.catalogue.action import MOMENT, TEXT, WHOLE, Action, Kind, Schema, Severity

# --- Staff: each event carries the reason that they gave ---
STAFF_LOOKED = Action("staff.looked", "looked at data of the organization", Kind.READ, severity=Severity.LOW)
# --- The trail ---
TRAIL_READ = Action(
    "audit.read",
    "read the audit log",
    Kind.READ,
    has={"page": {**TEXT, "description": "events, event, export, stream or proof."}},
)
# --- Tried and refused: the first of an actor and address in an hour one by one, the rest as one sum ---
_REFUSED: dict[str, Schema] = {"code": {**TEXT, "description": "Of docs/api/errors.md, or of the page."}}
_ROUTE: dict[str, Schema] = {"method": TEXT, "path": TEXT}
SIGN_IN_FAILED = Action(
    "account.sign_in_failed", "failed to sign in", Kind.SIGN_IN, severity=Severity.MEDIUM, is_failure=True
)
SIGN_IN_BLOCKED = Action(
    "account.sign_in_blocked",
    "was kept from signing in after too many attempts",
    Kind.SIGN_IN,
    severity=Severity.MEDIUM,
    is_failure=True,
)
ACCESS_DENIED = Action(
    "access.denied",
    "tried what they may not do",
    Kind.API_OTHER,
    has={**_REFUSED, **_ROUTE},
    severity=Severity.MEDIUM,
    is_failure=True,
)
RATE_LIMITED = Action(
    "access.rate_limited",
    "made more requests than the limit",
    Kind.API_OTHER,
    has=_ROUTE,
    severity=Severity.LOW,
    is_failure=True,
)
DEAD_KEY_USED = Action(
    "access.dead_key_used",
    "used an API key that has ended",
    Kind.SIGN_IN,
    has={"why": {**TEXT, "description": "revoked, expired, project_archived or organization_closed."}},
    severity=Severity.MEDIUM,
    is_failure=True,
)
BAD_SIGNATURE = Action(
    "access.bad_signature",
    "sent something with a signature that is not right",
    Kind.API_OTHER,
    has={"where": TEXT},
    severity=Severity.HIGH,
    is_failure=True,
)
ATTEMPTS_REPEATED = Action(
    "access.attempts_repeated",
    "tried again and again what was refused",
    Kind.API_OTHER,
    has={"action": TEXT, "attempts": WHOLE, "recorded": WHOLE, "since": MOMENT, "until": MOMENT},
    severity=Severity.MEDIUM,
    is_failure=True,
)
PERSON_ERASED = Action(
    "audit.person.erased",
    "erased what the audit log kept of a person",
    Kind.DELETE,
    has={"kind": TEXT, "erased": WHOLE},
    severity=Severity.MEDIUM,
)
