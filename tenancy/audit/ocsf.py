"""Says an audit event in the words of the Open Cybersecurity Schema Framework, for SIEMs: https://schema.ocsf.io/1.3.0."""

from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from tenancy.audit.catalogue.action import CATALOGUE, Action, Kind, Severity

VERSION = "1.3.0"
Json = dict[str, Any]
CATEGORIES = {3: "Identity & Access Management", 6: "Application Activity"}
CLASSES = {
    3001: "Account Change",
    3002: "Authentication",
    3004: "Entity Management",
    3005: "User Access Management",
    3006: "Group Management",
    6003: "API Activity",
}
_CRUD = {1: "Create", 2: "Read", 3: "Update", 4: "Delete", 99: "Other"}
ACTIVITIES: dict[int, dict[int, str]] = {
    3001: {
        3: "Password Change",
        4: "Password Reset",
        10: "MFA Factor Enable",
        11: "MFA Factor Disable",
        99: "Other",
    },
    3002: {1: "Logon", 2: "Logoff"},
    3004: _CRUD,
    3005: {1: "Assign Privileges", 2: "Revoke Privileges"},
    3006: {3: "Add User", 4: "Remove User"},
    6003: _CRUD,
}
PEOPLE = {"user": (1, "User"), "staff": (2, "Admin"), "system": (3, "System")}  # OCSF's types of users
SUCCESS, FAILURE = (1, "Success"), (2, "Failure")


class Told(Protocol):
    """What is needed of an audit event: see tenancy.audit.models.AuditEvent."""

    @property
    def id(self) -> UUID:
        """Its id."""

    @property
    def organization_id(self) -> UUID:
        """Whose it is."""

    @property
    def action(self) -> str:
        """Its action's name."""

    @property
    def occurred_at(self) -> datetime:
        """When it was recorded."""

    @property
    def actor(self) -> Json:
        """{kind, id, label}."""

    @property
    def target(self) -> Json:
        """{kind, id, label}."""

    @property
    def context(self) -> Json:
        """{request_id, ip, user_agent, session_id}."""

    @property
    def metadata(self) -> Json:
        """What else there is to say."""

    @property
    def changes(self) -> dict[str, list[Any]]:
        """{field: [before, after]}."""

    @property
    def reason(self) -> str:
        """Why."""


def ocsf(event: Told) -> Json:
    """The event as an OCSF 1.3 event; what has no place there stands in `unmapped`.

    Labels and addresses are those of `event`: its pseudonyms, unless somebody revealed them. An action that has left
    the catalogue is an entity's "Other".
    """
    action = CATALOGUE.get(event.action)
    kind = action.kind if action else Kind.OTHER
    class_uid, activity_id = kind.value
    severity = action.severity if action else Severity.INFORMATIONAL
    status_id, status = FAILURE if action and action.is_failure else SUCCESS
    category_uid = class_uid // 1000
    at = int(event.occurred_at.timestamp() * 1000)
    said: Json = {
        "category_uid": category_uid,
        "category_name": CATEGORIES[category_uid],
        "class_uid": class_uid,
        "class_name": CLASSES[class_uid],
        "activity_id": activity_id,
        "activity_name": ACTIVITIES[class_uid][activity_id],
        "type_uid": class_uid * 100 + activity_id,
        "type_name": f"{CLASSES[class_uid]}: {ACTIVITIES[class_uid][activity_id]}",
        "severity_id": int(severity),
        "severity": severity.name.capitalize(),
        "status_id": status_id,
        "status": status,
        "time": at,
        "message": action.sentence if action else event.action,
        "actor": _actor(event),
        "metadata": {
            "version": VERSION,
            "uid": str(event.id),
            "event_code": event.action,
            "correlation_uid": event.context.get("request_id", ""),
            "tenant_uid": str(event.organization_id),
            "logged_time": at,
            "log_name": "audit",
            "product": {"name": "Capsule Memory Cloud", "vendor_name": "Capsule Memory"},
        },
        "src_endpoint": {"ip": event.context["ip"]} if event.context.get("ip") else {"name": "internal"},
        "unmapped": _unmapped(event, action),
    }
    if agent := event.context.get("user_agent"):
        said["http_request"] = {"user_agent": agent, "uid": event.context.get("request_id", "")}
    return said | _of_class(class_uid, event)


def _actor(event: Told) -> Json:
    actor: Json = {"user": _user(event.actor)}
    if session := event.context.get("session_id"):
        actor["session"] = {"uid": session}
    return actor


def _user(party: Json) -> Json:
    type_id, name = PEOPLE.get(party["kind"], (99, party["kind"]))
    return {"uid": party["id"], "name": party["label"], "type_id": type_id, "type": name}


def _entity(party: Json) -> Json:
    return {"uid": party["id"], "name": party["label"], "type": party["kind"]}


def _of_class(class_uid: int, event: Told) -> Json:
    """What the class asks for beside what every class has."""
    organization = {"uid": str(event.organization_id), "type": "organization"}
    if class_uid in (3001, 3002):
        return {"user": _user(event.target)}
    if class_uid == 3004:
        return {"entity": _entity(event.target)} | ({"comment": event.reason} if event.reason else {})
    if class_uid == 3005:
        role = event.changes.get("role", [None, None])[1]
        return {"user": _user(event.target), "privileges": [role] if role else [], "resource": organization}
    if class_uid == 3006:
        return {"group": organization, "user": _user(event.target)}
    resource = _entity(event.target)
    return {"api": {"operation": event.action, "service": {"name": "Capsule Memory Cloud"}}, "resources": [resource]}


def _unmapped(event: Told, action: Action | None) -> Json:
    said: Json = {"metadata": event.metadata, "action_version": action.version if action else None}
    if event.changes:
        said["changes"] = event.changes
    if event.reason:
        said["reason"] = event.reason
    return said
