"""Actions on organizations and what they own: projects, members, invitations, keys, accounts, webhook endpoints."""

from tenancy.audit.catalogue.action import (
    FLAG,
    ID,
    MOMENT,
    PERSON,
    SECRET,
    TEXT,
    WHOLE,
    Action,
    Kind,
    Severity,
    many,
    maybe,
)

_KEYS = {"keys_revoked": WHOLE}
_ROLE = {"role": TEXT}

# --- Organizations ---
ORGANIZATION_CREATED = Action("organization.created", "created the organization", Kind.CREATE)
ORGANIZATION_UPDATED = Action(
    "organization.updated",
    "changed the organization's settings",
    Kind.UPDATE,
    changes={"name": TEXT, "is_mfa_required": FLAG, "session_hours": WHOLE},
    severity=Severity.LOW,
)
ORGANIZATION_CLOSED = Action(
    "organization.closed",
    "closed the organization",
    Kind.DELETE,
    has={"purge_after": MOMENT},
    changes={"closed_at": MOMENT},
    severity=Severity.MEDIUM,
)
ORGANIZATION_RESTORED = Action(
    "organization.restored",
    "restored the organization",
    Kind.UPDATE,
    changes={"closed_at": MOMENT},
    severity=Severity.LOW,
)
# --- Projects ---
PROJECT_CREATED = Action("organization.project.created", "created a project", Kind.CREATE, may={"slug": TEXT})
PROJECT_UPDATED = Action(
    "organization.project.updated",
    "changed a project",
    Kind.UPDATE,
    changes={
        "name": TEXT,
        "cors_origins": many(TEXT),
        "turn_retention_days": WHOLE,
        "idle_seal_minutes": WHOLE,
        "audit_reads": FLAG,
    },
)
PROJECT_ARCHIVED = Action(
    "organization.project.archived",
    "archived a project",
    Kind.DELETE,
    has=_KEYS,
    changes={"archived_at": MOMENT},
    severity=Severity.LOW,
)
# --- Members and invitations ---
MEMBER_ADDED = Action("organization.member.added", "became a member", Kind.JOIN, has=_ROLE, severity=Severity.LOW)
MEMBER_ROLE_CHANGED = Action(
    "organization.member.role_changed",
    "changed a member's role",
    Kind.GRANT,
    has=_KEYS,
    changes=_ROLE,
    severity=Severity.LOW,
)
MEMBER_PROJECT_ROLE_CHANGED = Action(
    "organization.member.project_role_changed",
    "changed a member's role in a project",
    Kind.GRANT,
    has={"project": TEXT, **_KEYS},
    changes=_ROLE,
    severity=Severity.LOW,
)
MEMBER_REMOVED = Action(
    "organization.member.removed",
    "removed a member",
    Kind.LEAVE,
    has=_KEYS,
    may={"keys_handed_over": WHOLE, "sessions_ended": WHOLE},
    changes=_ROLE,
    severity=Severity.LOW,
)
MEMBER_LEFT = Action("organization.member.left", "left the organization", Kind.LEAVE, has=_KEYS, changes=_ROLE)
INVITATION_CREATED = Action("organization.invitation.created", "invited somebody", Kind.CREATE, has=_ROLE)
INVITATION_RESENT = Action(
    "organization.invitation.resent", "sent an invitation again", Kind.UPDATE, changes={"expires_at": MOMENT}
)
INVITATION_REVOKED = Action("organization.invitation.revoked", "revoked an invitation", Kind.DELETE)
INVITATION_ACCEPTED = Action("organization.invitation.accepted", "accepted an invitation", Kind.UPDATE)
# --- API keys ---
KEY_CREATED = Action(
    "organization.api_key.created",
    "created an API key",
    Kind.CREATE,
    has={"project": TEXT, "scopes": many(TEXT), "expires_at": maybe(MOMENT)},
    may={"requests_per_minute": maybe(WHOLE), "allowed_cidrs": many(TEXT)},
    severity=Severity.LOW,
)
KEY_ROTATED = Action(
    "organization.api_key.rotated",
    "rotated an API key",
    Kind.UPDATE,
    has={"successor": TEXT},
    changes={"expires_at": MOMENT, "secret": SECRET},
    severity=Severity.LOW,
)
KEY_REVOKED = Action(
    "organization.api_key.revoked", "revoked an API key", Kind.DELETE, has=_KEYS, severity=Severity.LOW
)
KEY_HANDED_OVER = Action(
    "organization.api_key.handed_over",
    "handed the API key of somebody who left to another member",
    Kind.UPDATE,
    has={"from": ID, "to": ID},
    severity=Severity.MEDIUM,
)
# --- Webhooks ---
_STATE = {"state": TEXT}
_SENT = {"event_id": ID, "type": TEXT, "delivery_id": ID}
WEBHOOK_CREATED = Action(
    "webhooks.endpoint.created",
    "added a webhook endpoint",
    Kind.CREATE,
    has={"event_types": many(TEXT), "project_ids": many(ID)},
    severity=Severity.LOW,
)
WEBHOOK_UPDATED = Action(
    "webhooks.endpoint.updated",
    "changed a webhook endpoint",
    Kind.UPDATE,
    changes={
        "url": {**TEXT, "description": "Without what stands behind its path, which may be secret."},
        "description": TEXT,
        "event_types": many(TEXT),
        "project_ids": many(ID),
        "is_ordered": FLAG,
    },
    severity=Severity.LOW,
)
WEBHOOK_DELETED = Action("webhooks.endpoint.deleted", "deleted a webhook endpoint", Kind.DELETE, changes=_STATE)
WEBHOOK_ENABLED = Action(
    "webhooks.endpoint.enabled", "let a webhook endpoint be told again", Kind.UPDATE, changes=_STATE
)
WEBHOOK_DISABLED = Action("webhooks.endpoint.disabled", "disabled a webhook endpoint", Kind.UPDATE, changes=_STATE)
WEBHOOK_PAUSED = Action(
    "webhooks.endpoint.paused",
    "paused a webhook endpoint that failed for a day",
    Kind.UPDATE,
    changes=_STATE,
    severity=Severity.MEDIUM,
)
WEBHOOK_SECRET_ROTATED = Action(
    "webhooks.secret.rotated",
    "gave a webhook endpoint a new secret",
    Kind.UPDATE,
    has={"overlap_seconds": WHOLE},
    changes={"secret": SECRET},
    severity=Severity.LOW,
)
WEBHOOK_TESTED = Action("webhooks.endpoint.tested", "sent a test event to a webhook endpoint", Kind.OTHER, has=_SENT)
WEBHOOK_RESENT = Action("webhooks.delivery.resent", "sent an event to a webhook endpoint again", Kind.OTHER, has=_SENT)
WEBHOOK_REPLAYED = Action(
    "webhooks.endpoint.replayed",
    "sent a webhook endpoint again what it had missed",
    Kind.OTHER,
    has={"since": MOMENT, "until": MOMENT, "deliveries": WHOLE},
)
# --- Accounts ---
SIGNED_IN = Action("account.signed_in", "signed in", Kind.SIGN_IN)
PASSWORD_CHANGED = Action(
    "account.password_changed", "changed their password", Kind.PASSWORD_CHANGE, severity=Severity.LOW
)
PASSWORD_RESET = Action(
    "account.password_reset", "set a new password by a link in a mail", Kind.PASSWORD_RESET, severity=Severity.LOW
)
EMAIL_CHANGED = Action(
    "account.email_changed", "changed the address that they sign in with", Kind.ACCOUNT_CHANGED, severity=Severity.LOW
)
_FACTOR = {"type": {**TEXT, "description": "totp, webauthn or recovery_codes."}}
SECOND_FACTOR_ADDED = Action("account.second_factor.added", "added a second factor", Kind.FACTOR_ADDED, has=_FACTOR)
SECOND_FACTOR_REMOVED = Action(
    "account.second_factor.removed",
    "removed a second factor",
    Kind.FACTOR_REMOVED,
    has=_FACTOR,
    severity=Severity.MEDIUM,
)
SECOND_FACTOR_RESET = Action(
    "account.second_factor.reset", "made new recovery codes", Kind.ACCOUNT_CHANGED, has=_FACTOR, severity=Severity.LOW
)
ACCOUNT_RENAMED = Action("account.renamed", "changed their name", Kind.ACCOUNT_CHANGED, changes={"name": PERSON})
