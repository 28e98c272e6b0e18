"""Actions about the trail itself, about our staff, and about what was tried and refused."""

from tenancy.audit.catalogue.action import FLAG, MOMENT, SECRET, TEXT, WHOLE, Action, Kind, Schema, Severity

# --- Staff: each event carries the reason that they gave ---
STAFF_LOOKED = Action("staff.looked", "looked at data of the organization", Kind.READ, severity=Severity.LOW)
# --- The trail ---
TRAIL_READ = Action(
    "audit.read",
    "read the audit log",
    Kind.READ,
    has={"page": {**TEXT, "description": "The page of the console, or the route of the API."}},
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
SECOND_FACTOR_FAILED = Action(
    "account.second_factor.failed",
    "gave a wrong second factor after the right password",
    Kind.SIGN_IN,
    severity=Severity.HIGH,
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
# --- Exports ---
_WHAT: dict[str, Schema] = {"format": TEXT, "filters": {"type": "object", "additionalProperties": TEXT}}
_STORE: dict[str, Schema] = {"kind": {**TEXT, "description": "s3, gcs, azure or https."}, "place": TEXT}
EXPORT_REQUESTED = Action(
    "audit.export.requested", "asked for an export of the audit log", Kind.CREATE, has=_WHAT, severity=Severity.LOW
)
EXPORT_WRITTEN = Action(
    "audit.export.written", "wrote an export of the audit log", Kind.OTHER, has={"events": WHOLE, "sha256": TEXT}
)
EXPORT_FAILED = Action("audit.export.failed", "could not write an export", Kind.OTHER, is_failure=True)
EXPORT_CANCELLED = Action("audit.export.cancelled", "cancelled an export", Kind.DELETE)
EXPORT_DELETED = Action("audit.export.deleted", "deleted an export and its files", Kind.DELETE)
EXPORT_DOWNLOADED = Action(
    "audit.export.downloaded", "downloaded a file of an export", Kind.READ, has={"file": TEXT}, severity=Severity.LOW
)
EXPORT_SENT = Action("audit.export.sent", "put an export into a store", Kind.OTHER, has=_STORE)
EXPORT_NOT_SENT = Action(
    "audit.export.not_sent",
    "could not put an export into a store",
    Kind.OTHER,
    has=_STORE,
    severity=Severity.MEDIUM,
    is_failure=True,
)
EXPORT_SENT_AGAIN = Action("audit.export.sent_again", "had an export put into its store again", Kind.OTHER)
TARGET_CREATED = Action(
    "audit.target.created", "added a store for exports", Kind.CREATE, has=_STORE, severity=Severity.MEDIUM
)
TARGET_UPDATED = Action(
    "audit.target.updated",
    "changed a store for exports",
    Kind.UPDATE,
    changes={"name": TEXT, "options": {"type": ["object", "null"]}, "secrets": SECRET},
    severity=Severity.MEDIUM,
)
TARGET_DELETED = Action("audit.target.deleted", "deleted a store for exports", Kind.DELETE, has=_STORE)
TARGET_TESTED = Action("audit.target.tested", "tested a store for exports", Kind.OTHER, has={"worked": FLAG})
SCHEDULE_CREATED = Action(
    "audit.schedule.created",
    "had the audit log exported regularly",
    Kind.CREATE,
    has={**_WHAT, "every": TEXT, "target": TEXT},
    severity=Severity.MEDIUM,
)
SCHEDULE_PAUSED = Action("audit.schedule.paused", "paused a schedule of exports", Kind.UPDATE)
SCHEDULE_RESUMED = Action("audit.schedule.resumed", "let a schedule of exports go on", Kind.UPDATE)
SCHEDULE_DELETED = Action("audit.schedule.deleted", "deleted a schedule of exports", Kind.DELETE)
# --- Retention ---
EVENTS_EXPIRED = Action(
    "audit.events.expired",
    "deleted events that the plan keeps no longer; their hashes stay",
    Kind.DELETE,
    has={"events": WHOLE, "before": MOMENT},
)
HOLD_SET = Action("audit.hold.set", "put the audit log under a legal hold", Kind.UPDATE, severity=Severity.MEDIUM)
HOLD_RELEASED = Action(
    "audit.hold.released", "released the legal hold on the audit log", Kind.UPDATE, severity=Severity.MEDIUM
)
# --- Streams ---
_STREAM: dict[str, Schema] = {"kind": TEXT, "place": TEXT}
STREAM_CREATED = Action(
    "audit.stream.created",
    "had the audit log streamed",
    Kind.CREATE,
    has={**_STREAM, "next_seq": WHOLE},
    severity=Severity.MEDIUM,
)
STREAM_UPDATED = Action(
    "audit.stream.updated",
    "changed a stream of the audit log",
    Kind.UPDATE,
    changes={
        "name": TEXT,
        "options": {"type": ["object", "null"]},
        "has_ocsf": FLAG,
        "has_people": FLAG,
        "secrets": SECRET,
    },
    severity=Severity.MEDIUM,
)
STREAM_PAUSED = Action(
    "audit.stream.paused",
    "paused a stream of the audit log",
    Kind.UPDATE,
    changes={"state": TEXT},
    severity=Severity.MEDIUM,
)
STREAM_DISABLED = Action(
    "audit.stream.disabled",
    "disabled a stream of the audit log",
    Kind.UPDATE,
    changes={"state": TEXT},
    severity=Severity.MEDIUM,
)
STREAM_RESUMED = Action(
    "audit.stream.resumed", "let a stream of the audit log go on", Kind.UPDATE, changes={"state": TEXT}
)
STREAM_DELETED = Action(
    "audit.stream.deleted",
    "deleted a stream of the audit log",
    Kind.DELETE,
    has=_STREAM,
    severity=Severity.MEDIUM,
)
STREAM_SECRET_ROTATED = Action(
    "audit.stream.secret_rotated",
    "rotated the secret of a stream",
    Kind.UPDATE,
    has={"overlap_seconds": WHOLE},
    changes={"secret": SECRET},
    severity=Severity.MEDIUM,
)
STREAM_REPLAYED = Action(
    "audit.stream.replayed",
    "moved a stream to another place of the audit log",
    Kind.UPDATE,
    has={"from_seq": WHOLE, "to_seq": WHOLE},
    severity=Severity.MEDIUM,
)
STREAM_TESTED = Action("audit.stream.tested", "tested a stream", Kind.OTHER, has={"worked": FLAG})
STREAM_RESENT = Action(
    "audit.stream.resent",
    "sent a stream an event again that it had refused",
    Kind.OTHER,
    has={"seq": WHOLE, "worked": FLAG},
)
