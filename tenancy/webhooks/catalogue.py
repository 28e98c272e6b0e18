"""The catalogue of event types: what each says, by a JSON Schema and an example. What is not here cannot be sent.

A type's fields may grow; to take one away or change its meaning is a new VERSION, and endpoints keep theirs.
docs/webhooks.md is made from this file (`manage.py webhook_catalogue --write`).
"""

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from jsonschema_rs import Draft202012Validator, ValidationError

Schema = dict[str, Any]
VERSION = "2026-11-29"
TYPES: dict[str, "EventType"] = {}

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
ID: Schema = {"type": "string", "format": "uuid"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
CURRENCY: Schema = {"type": "string", "description": "ISO 4217, in small letters."}
AMOUNT: Schema = {"type": "integer", "description": "In the currency's smallest unit."}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


class Unfit(ValueError):
    """An event's data are not what its type says: a mistake of ours."""


@dataclass(frozen=True)
class EventType:
    """One kind of event: `room.thing.happened`, a sentence for people, the fields of its `data`, an example of them.

    An event `of_project` belongs to a project, and an endpoint may ask for some projects alone.
    """

    name: str
    sentence: str
    fields: dict[str, Schema]
    example: dict[str, Any]
    of_project: bool = field(default=False, kw_only=True)
    is_test: bool = field(default=False, kw_only=True)  # goes to one endpoint on demand: nobody subscribes to it

    def __post_init__(self) -> None:
        if self.name in TYPES:
            raise ValueError(f"{self.name} is in the catalogue already.")
        TYPES[self.name] = self

    @property
    def group(self) -> str:
        """The pattern that takes every type of its room: `billing.*`."""
        return f"{self.name.partition('.')[0]}.*"

    @property
    def schema(self) -> Schema:
        """The JSON Schema of its `data`. Receivers should bear more fields: there may be some one day."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.name,
            "description": self.sentence,
            "type": "object",
            "properties": self.fields,
            "required": list(self.fields),
        }

    @cached_property
    def _validator(self) -> Draft202012Validator:
        return Draft202012Validator({**self.schema, "additionalProperties": False}, validate_formats=True)

    def check(self, data: dict[str, Any]) -> None:
        """Raise Unfit unless the data are exactly what the schema says."""
        try:
            self._validator.validate(data)
        except ValidationError as error:
            raise Unfit(f"{self.name}: {error.message}") from None


@cache
def choices() -> tuple[str, ...]:
    """What an endpoint may ask for: each room as a whole, and each type."""
    types = [one for one in TYPES.values() if not one.is_test]
    return (*sorted({one.group for one in types}), *sorted(one.name for one in types))


_A = "0198f0a1-5c1e-7d3a-9b1f-3f2c6a7d8e90"
_B = "0198f0a1-77aa-7c55-8a10-0c9d1e2f3a4b"
_C = "0198f0a2-0b4d-7e21-b6c8-5d4e3f2a1b0c"
_NOON, _LATER = "2026-11-29T12:00:00Z", "2026-12-01T00:00:00Z"

# --- Billing: use ---
_CAP: dict[str, Schema] = {
    "allowance": {**TEXT, "description": "operations, documents, stored_bytes or end_users."},
    "level": {**TEXT, "description": "Whose cap it is: organization, project or key."},
    "subject_id": {**ID, "description": "Of the organization, the project or the key."},
    "span": {**TEXT, "description": "How long it counts: period or day."},
}
_USED = {"used": WHOLE, "limit": WHOLE, "sentence": {**TEXT, "description": "The same for people."}}
_CAP_EXAMPLE = {"allowance": "operations", "level": "organization", "subject_id": _A, "span": "period"}
THRESHOLD_CROSSED = EventType(
    "billing.threshold.crossed",
    "A percentage of a cap that you asked to be told about is used. Once for a cap, a percentage and a period.",
    {**_CAP, "percent": WHOLE, **_USED},
    {
        **_CAP_EXAMPLE,
        "percent": 80,
        "used": 20_000,
        "limit": 25_000,
        "sentence": "80 % of the 25,000 operations of your organization are used this billing period",
    },
)
CAP_REACHED = EventType(
    "billing.cap.reached",
    "A cap is used up. What happens to writes is as you chose for it; recalls go on. Once for a cap and a period.",
    {**_CAP, **_USED},
    {
        **_CAP_EXAMPLE,
        "used": 25_000,
        "limit": 25_000,
        "sentence": "100 % of the 25,000 operations of your organization are used this billing period",
    },
)
CAP_LIFTED = EventType(
    "billing.cap.lifted",
    "A cap of yours was raised or taken away, or one that was reached holds nothing back any more: a new period or day "
    "has begun, or the plan was changed. Once each time. Writes go on within a second, and kept ones happen.",
    {**_CAP, "limit": {**_or_null(WHOLE), "description": "What holds now; null where nothing does but the plan."}},
    {**_CAP_EXAMPLE, "limit": 50_000},
)
USAGE_UNUSUAL = EventType(
    "billing.usage.unusual",
    "Far more is used than usual: at least four times the median hour of the week before. Once as long as it lasts.",
    {
        "meter": TEXT,
        "subject_id": {**ID, "description": "Of the key, or of the project where no key was used."},
        "since": MOMENT,
        "used": {**WHOLE, "description": "In the latest hour."},
        "sentence": {**TEXT, "description": "The same for people."},
    },
    {
        "meter": "recall",
        "subject_id": _B,
        "since": "2026-11-29T14:00:00Z",
        "used": 7_012,
        "sentence": "recall x7 since 14:00 UTC, key Production (cmk_9f2c…): 7,012 in an hour, usually 1,000",
    },
)
# --- Billing: money ---
_PLAN = {"plan": TEXT, "interval": {**TEXT, "description": "month or year."}}
TRIAL_ENDING = EventType(
    "billing.trial.ending",
    "A trial ends soon: seven days, three days and one day before.",
    {"plan": TEXT, "ends_at": MOMENT, "continues": {"type": "boolean", "description": "Whether it becomes paid."}},
    {"plan": "pro", "ends_at": _LATER, "continues": True},
)
PLAN_CHANGED = EventType(
    "billing.plan.changed",
    "A subscription began, changed or ended. Without one you are on the free plan.",
    {"before": {**TEXT, "description": "Of the plans."}, "after": TEXT},
    {"before": "free", "after": "pro"},
)
_DEBT = {"invoice": {**TEXT, "description": "The invoice's reference."}, "amount_due": AMOUNT, "currency": CURRENCY}
_DEBT_EXAMPLE = {"invoice": "in_1QzX2b", "amount_due": 2_900, "currency": "usd"}
PAYMENT_FAILED = EventType(
    "billing.payment.failed",
    "An invoice could not be paid: the card was declined, or the invoice is overdue. Access goes on for the grace.",
    {**_DEBT},
    {**_DEBT_EXAMPLE},
)
_ACCESS = {"before": TEXT, "changes_at": {**_or_null(MOMENT), "description": "When it gets worse unless it is paid."}}
_ACCESS_SENTENCES = {
    "past_due": ("An invoice is overdue. Everything works during the grace.", "ok"),
    "restricted": ("Writes wait until the overdue invoice is paid; recalls, reads and exports go on.", "past_due"),
    "suspended": ("Only listing, exports and deletions go on until the overdue invoice is paid.", "restricted"),
    "cancelled": ("The subscription is over because its invoice was not paid. Your data stays.", "suspended"),
    "recovered": ("Everything overdue is paid: full access is back.", "restricted"),
}
ACCESS_CHANGED: dict[str, EventType] = {
    state: EventType(
        f"billing.access.{state}",
        text,
        _ACCESS,
        {"before": before, "changes_at": None if state in {"cancelled", "recovered"} else _LATER},
    )
    for state, (text, before) in _ACCESS_SENTENCES.items()
}
_INVOICE = {
    "invoice_id": ID,
    "number": TEXT,
    "period_start": MOMENT,
    "period_end": MOMENT,
    "total": AMOUNT,
    "currency": CURRENCY,
}
_INVOICE_EXAMPLE = {
    "invoice_id": _C,
    "number": "CMC-2026-0042",
    "period_start": "2026-11-01T00:00:00Z",
    "period_end": _LATER,
    "total": 4_731,
    "currency": "usd",
}
INVOICE_CLOSED = EventType(
    "billing.invoice.closed", "A period is over and its invoice is final.", _INVOICE, _INVOICE_EXAMPLE
)
INVOICE_PAID = EventType("billing.invoice.paid", "An invoice is paid.", _INVOICE, _INVOICE_EXAMPLE)
_BALANCE = {"balance": AMOUNT, "currency": CURRENCY}
CREDITS_LOW = EventType(
    "billing.credits.low",
    "The credits have fallen below what you chose for automatic top-ups.",
    {**_BALANCE, "threshold": AMOUNT},
    {"balance": 412, "currency": "usd", "threshold": 1_000},
)
CREDITS_TOPPED_UP = EventType(
    "billing.credits.topped_up",
    "Bought credits are there.",
    {"amount": AMOUNT, "currency": CURRENCY},
    {"amount": 5_000, "currency": "usd"},
)
# --- The organization ---
_MEMBER = {"user_id": ID, "role": TEXT}
_MEMBER_EXAMPLE = {"user_id": _A, "role": "member"}
MEMBER_ADDED = EventType("organization.member.added", "Somebody became a member.", _MEMBER, _MEMBER_EXAMPLE)
MEMBER_REMOVED = EventType(
    "organization.member.removed", "Somebody was removed, or left. Their keys have ended.", _MEMBER, _MEMBER_EXAMPLE
)
KEY_CREATED = EventType(
    "organization.api_key.created",
    "An API key was made, or took another's place.",
    {
        "key_id": ID,
        "hint": {**TEXT, "description": "Its first characters."},
        "scopes": {"type": "array", "items": TEXT},
    },
    {"key_id": _B, "hint": "cmk_9f2c41ab", "scopes": ["memory:read", "memory:write"]},
    of_project=True,
)
KEY_REVOKED = EventType(
    "organization.api_key.revoked",
    "An API key was revoked, with every key below it. It is dead everywhere within a second.",
    {"key_id": ID, "hint": TEXT, "keys_revoked": WHOLE},
    {"key_id": _B, "hint": "cmk_9f2c41ab", "keys_revoked": 1},
    of_project=True,
)
_PROJECT = {"slug": TEXT}
PROJECT_CREATED = EventType(
    "organization.project.created", "A project was made.", _PROJECT, {"slug": "production"}, of_project=True
)
PROJECT_ARCHIVED = EventType(
    "organization.project.archived",
    "A project was archived: its keys have ended, its memories stay until the organization is closed.",
    _PROJECT,
    {"slug": "production"},
    of_project=True,
)
AUDIT_EXPORT_READY = EventType(
    "organization.audit.export_ready",
    "An export of your audit log is written and can be downloaded for seven days.",
    {
        "export_id": ID,
        "format": {**TEXT, "enum": ["jsonl", "csv", "parquet"]},
        "events": {**WHOLE, "description": "How many events it holds."},
        "bytes": {**WHOLE, "description": "Of the file of events."},
        "sha256": {**TEXT, "description": "Of the file of events, in hex."},
    },
    {
        "export_id": "0198b2a4-7c1e-7d3a-9d4e-2f6b8c0a1e5f",
        "format": "jsonl",
        "events": 125_000,
        "bytes": 86_000_000,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    },
)
AUDIT_STREAM_STOPPED = EventType(
    "organization.audit.stream_stopped",
    "A stream of your audit log is sent nothing any more: its target failed for a day, refused everything, or is gone.",
    {
        "stream_id": ID,
        "name": TEXT,
        "state": {**TEXT, "enum": ["paused", "disabled"]},
        "reason": TEXT,
        "next_seq": {**WHOLE, "description": "The place of the trail that it goes on with once it is resumed."},
    },
    {
        "stream_id": "0198b2a4-7c1e-7d3a-9d4e-2f6b8c0a1e5f",
        "name": "Splunk",
        "state": "paused",
        "reason": "Nothing arrived since 28 Nov 2026, 10:12 UTC, in 151 attempts. The last: Answered 503.",
        "next_seq": 125_000,
    },
)
AUDIT_CHECKPOINT = EventType(
    "organization.audit.checkpoint",
    "Your audit trail has grown: its newest signed checkpoint, once a day. With it you can prove a later rewriting.",
    {
        "size": {**WHOLE, "description": "How many events are sealed."},
        "checkpoint": {**TEXT, "description": "Of your trail: a signed note (c2sp.org/tlog-checkpoint)."},
        "log_checkpoint": {**TEXT, "description": "Of the log of all organizations' checkpoints, which has yours."},
    },
    {
        "size": 4_096,
        "checkpoint": "memory.example.com/audit/0198…\n4096\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— …\n",
        "log_checkpoint": "memory.example.com/audit\n81920\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\n— …\n",
    },
)
# --- Memory: ids alone, never content ---
_CAPSULE = {"capsule_id": TEXT, "user_id": {**TEXT, "description": "Your id of the end user."}}
_CAPSULE_EXAMPLE = {"capsule_id": "cap_5f0c9a1e", "user_id": "dana"}
SESSION_SEALED = EventType(
    "memory.session.sealed",
    "A session became a capsule, on demand or because it was idle.",
    {"session_id": TEXT, **_CAPSULE},
    {"session_id": "chat-81", **_CAPSULE_EXAMPLE},
    of_project=True,
)
CAPSULE_CREATED = EventType(
    "memory.capsule.created",
    "There is a new capsule.",
    {**_CAPSULE, "origin": {**TEXT, "description": "sealed, imported, merged or forked."}},
    {**_CAPSULE_EXAMPLE, "origin": "sealed"},
    of_project=True,
)
CAPSULE_DELETED = EventType(
    "memory.capsule.deleted",
    "A capsule was deleted.",
    {"capsule_id": TEXT},
    {"capsule_id": "cap_5f0c9a1e"},
    of_project=True,
)
CAPSULES_EXPIRED = EventType(
    "memory.capsules.expired",
    "Capsules were deleted because their end had passed.",
    {"capsule_ids": {"type": "array", "items": TEXT}},
    {"capsule_ids": ["cap_5f0c9a1e"]},
    of_project=True,
)
USER_DELETED = EventType(
    "memory.user.deleted",
    "Everything that was remembered of an end user is deleted.",
    {"user_id": TEXT, "capsules": WHOLE},
    {"user_id": "dana", "capsules": 12},
    of_project=True,
)
IMPORT_FINISHED = EventType(
    "memory.import.finished",
    "An import is stored and can be recalled.",
    _CAPSULE,
    _CAPSULE_EXAMPLE,
    of_project=True,
)
# --- On demand ---
TEST = EventType(
    "webhooks.test",
    "The answer to the button “Send a test event”.",
    {"endpoint_id": ID, "sentence": TEXT},
    {"endpoint_id": _C, "sentence": "If you can read this, your endpoint works."},
    is_test=True,
)
