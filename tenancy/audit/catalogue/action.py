"""What an audited action is: its name, its fields as a JSON Schema, and its place in OCSF."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from functools import cached_property
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from jsonschema_rs import Draft202012Validator, ValidationError

Schema = dict[str, Any]
CATALOGUE: dict[str, "Action"] = {}

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": -(2**53), "maximum": 2**53}
FLAG: Schema = {"type": "boolean"}
ID: Schema = {"type": "string", "format": "uuid"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
CURRENCY: Schema = {"type": "string", "description": "ISO 4217, in small letters."}
AMOUNT: Schema = {**WHOLE, "description": "In the currency's smallest unit."}
ANYTHING: Schema = {"type": ["string", "integer", "boolean", "array", "null"]}
HIDDEN = "•••"
SECRET: Schema = {"const": HIDDEN, "description": "A secret: that it changed, never what it is."}
EMAILS: Schema = {
    "type": "array",
    "items": {"type": "string", "description": "Without what stands before the @."},
}
END_USER: Schema = {"type": "string", "x-personal": "end_user", "description": "Your end user."}
PERSON: Schema = {"type": "string", "x-personal": "user", "description": "A person's name or address."}
# What our own secrets, and those of the services that we use, look like
SECRETS = re.compile(
    rb"(?:cm[ks]|csl)_[A-Za-z0-9_-]{24,}|whsec_[A-Za-z0-9+/=]{16,}|[sr]k_(?:live|test)_\w{8,}|otpauth://"
)


def maybe(schema: Schema) -> Schema:
    """The same, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": schema}


class Severity(IntEnum):
    """How much it should worry a security team, in OCSF's numbers."""

    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5


class Kind(Enum):
    """What an action is in the Open Cybersecurity Schema Framework: (class_uid, activity_id)."""

    PASSWORD_CHANGE = (3001, 3)
    PASSWORD_RESET = (3001, 4)
    FACTOR_ADDED = (3001, 10)
    FACTOR_REMOVED = (3001, 11)
    ACCOUNT_CHANGED = (3001, 99)
    SIGN_IN = (3002, 1)
    SIGN_OUT = (3002, 2)
    CREATE = (3004, 1)
    READ = (3004, 2)
    UPDATE = (3004, 3)
    DELETE = (3004, 4)
    OTHER = (3004, 99)
    GRANT = (3005, 1)
    REVOKE = (3005, 2)
    JOIN = (3006, 3)
    LEAVE = (3006, 4)
    API_CREATE = (6003, 1)
    API_READ = (6003, 2)
    API_UPDATE = (6003, 3)
    API_DELETE = (6003, 4)
    API_OTHER = (6003, 99)


class Unfit(ValueError):
    """An event holds what its action does not declare: a mistake of ours."""


@dataclass(frozen=True)
class Action:
    """One kind of event: its name (`room.thing.happened`), a sentence for people, its kind, and its fields.

    `has` are the fields that its metadata always has, `may` those that it can have, `changes` the fields of the thing
    that it can say before and after of. To take a field away or change its meaning is a new `version`.
    """

    name: str
    sentence: str
    kind: Kind = Kind.OTHER
    has: Mapping[str, Schema] = field(default_factory=dict)
    may: Mapping[str, Schema] = field(default_factory=dict)
    changes: Mapping[str, Schema] = field(default_factory=dict)
    severity: Severity = field(default=Severity.INFORMATIONAL, kw_only=True)
    is_failure: bool = field(default=False, kw_only=True)  # it was tried, and refused
    version: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        if self.name in CATALOGUE:
            raise ValueError(f"{self.name} is in the catalogue already.")
        CATALOGUE[self.name] = self

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def schema(self) -> Schema:
        """The JSON Schema of an event's own part: its `metadata` and `changes`."""
        metadata = {"properties": {**self.has, **self.may}, "required": list(self.has), "additionalProperties": False}
        pairs = {
            name: {"type": "array", "prefixItems": [maybe(one), maybe(one)], "minItems": 2, "items": False}
            for name, one in self.changes.items()
        }
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.name,
            "description": f"Somebody {self.sentence}.",
            "type": "object",
            "properties": {
                "metadata": {"type": "object", **metadata},
                "changes": {"type": "object", "properties": pairs, "additionalProperties": False},
            },
            "required": ["metadata"],
            "additionalProperties": False,
        }

    @cached_property
    def personal(self) -> dict[str, str]:
        """Which fields of the metadata name a person, and of which kind."""
        return _personal({**self.has, **self.may})

    @cached_property
    def personal_changes(self) -> dict[str, str]:
        """The same of the fields that it says before and after of."""
        return _personal(self.changes)

    @cached_property
    def names_people(self) -> bool:
        """Whether any of its fields does."""
        return bool(self.personal or self.personal_changes)

    @cached_property
    def _fields(self) -> frozenset[str]:
        return frozenset(self.has) | frozenset(self.may)

    @cached_property
    def _validator(self) -> Draft202012Validator:
        return Draft202012Validator(self.schema, validate_formats=True)

    def check(self, metadata: Mapping[str, Any] | None, changes: Mapping[str, Any] | None = None) -> None:
        """Raise Unfit for a field that the action does not declare; with AUDIT_CHECKS_VALUES also for a wrong value.

        Without it this costs a fraction of a microsecond: whatever fits in every test fits there.
        """
        is_known = not metadata or self._fields.issuperset(metadata)
        if not is_known or (changes and not changes.keys() <= self.changes.keys()):
            unknown = [*(set(metadata or ()) - self._fields), *(set(changes or ()) - self.changes.keys())]
            raise Unfit(f"{self.name} declares no field {sorted(unknown)}.")
        if settings.AUDIT_CHECKS_VALUES:
            self.check_values(metadata, changes)

    def check_values(self, metadata: Mapping[str, Any] | None, changes: Mapping[str, Any] | None = None) -> None:
        """Raise Unfit unless the fields are what the schema says, and none of them looks like a secret."""
        said = {"metadata": dict(metadata or {})} | ({"changes": dict(changes)} if changes else {})
        as_sent = orjson.dumps(said, default=list)
        try:
            self._validator.validate(orjson.loads(as_sent))
        except ValidationError as error:
            raise Unfit(f"{self.name}: {error.message}") from None
        if SECRETS.search(as_sent):
            raise Unfit(f"{self.name} would tell a secret.")

    def changed(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
        """What differs between two states, as `{field: [before, after]}`, secrets hidden. Raises Unfit.

        A field that one of them lacks is null there.
        """
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if unknown := set(names) - self.changes.keys():
            raise Unfit(f"{self.name} declares no field {sorted(unknown)}.")
        return {name: [self._shown(name, state.get(name)) for state in (before, after)] for name in names}

    def change(self, thing: Any, wanted: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Give a thing these values, and say what differs, as `changed` does: empty where nothing did."""
        before = {name: getattr(thing, name) for name in wanted}
        for name, value in wanted.items():
            setattr(thing, name, value)
        return self.changed(before, wanted)

    def _shown(self, name: str, value: Any) -> Any:
        schema = self.changes[name]
        if schema is EMAILS and value:
            return [f"{HIDDEN}@{address.rpartition('@')[2]}" for address in value]
        return HIDDEN if schema is SECRET and value is not None else plain(value)


def _personal(fields: Mapping[str, Schema]) -> dict[str, str]:
    return {name: schema["x-personal"] for name, schema in fields.items() if "x-personal" in schema}


def plain(value: Any) -> Any:
    """A value as JSON holds it: moments in ISO 8601, ids as text, words of an enumeration as themselves."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
