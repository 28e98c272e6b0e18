"""Declares what a plain route takes: one declaration parses the request and describes it in the OpenAPI document.

Refusals are lists in FastAPI's form (`{type, loc, msg, input}`), which clients of the engine's own server know.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.utils.dateparse import parse_datetime

from capsule_cloud.api.errors import ApiError
from capsule_cloud.memory.limits import is_storable

REQUIRED: Any = object()
Problems = list[dict[str, Any]]
Location = tuple[str | int, ...]


class Bad(Exception):
    """A value is not what its field declares."""

    def __init__(self, kind: str, message: str, context: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind, self.context = kind, context

    def at(self, where: Location, value: Any) -> dict[str, Any]:
        """The entry for the list of problems."""
        shown = value if value is None or isinstance(value, bool | int | float) else str(value)[:200]
        entry = {"type": self.kind, "loc": list(where), "msg": str(self), "input": shown}
        return entry | {"ctx": self.context} if self.context else entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One named value. `default` makes it optional; JSON null then means the default too."""

    name: str = ""
    default: Any = REQUIRED
    about: str = ""
    json_type: ClassVar[str] = "string"

    @property
    def is_required(self) -> bool:
        """Whether a request without it is refused."""
        return self.default is REQUIRED

    def value(self, raw: Any, where: Location, problems: Problems) -> Any:
        """The value of `raw`, checked; what is wrong goes on the list."""
        try:
            return self.check(raw)
        except Bad as bad:
            problems.append(bad.at(where, raw))
            return None

    def check(self, raw: Any) -> Any:
        """`raw` as this field's type; raises Bad."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of one value."""
        schema: dict[str, Any] = {"type": self.json_type} | self.limits()
        if self.about:
            schema["description"] = self.about
        if not self.is_required and self.default not in (None, ()):
            schema["default"] = self.default
        return schema

    def limits(self) -> dict[str, Any]:
        """The JSON Schema words for this field's bounds."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Field):
    """Unicode text without NUL; lengths in characters."""

    low: int = 0
    high: int | None = None

    def check(self, raw: Any) -> str:
        """`raw`, if it is such text."""
        if not isinstance(raw, str):
            raise Bad("string_type", "Input should be a valid string")
        if not is_storable(raw):
            raise Bad("string_unicode", "Input should be Unicode text without NUL")
        if len(raw) < self.low:
            raise Bad("string_too_short", f"String should have at least {self.low} character", {"min_length": self.low})
        if self.high is not None and len(raw) > self.high:
            raise Bad(
                "string_too_long", f"String should have at most {self.high} characters", {"max_length": self.high}
            )
        return raw

    def limits(self) -> dict[str, Any]:
        """minLength and maxLength."""
        low = {"minLength": self.low} if self.low else {}
        return low | ({"maxLength": self.high} if self.high is not None else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Field):
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, raw: Any) -> str:
        """`raw`, if it is one of them."""
        if raw not in self.words:
            quoted = [f"'{word}'" for word in self.words]
            expected = f"{', '.join(quoted[:-1])} or {quoted[-1]}"
            raise Bad("enum", f"Input should be {expected}", {"expected": expected})
        return str(raw)

    def limits(self) -> dict[str, Any]:
        """enum."""
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Field):
    """A whole number; as text in a query, as a number in JSON."""

    json_type = "integer"
    low: int
    high: int

    def check(self, raw: Any) -> int:
        """`raw`, if it is within the bounds."""
        if isinstance(raw, str):
            if not re.fullmatch(r"[+-]?[0-9]{1,18}", raw):
                raise Bad("int_parsing", "Input should be a valid integer, unable to parse string as an integer")
            raw = int(raw)
        if not isinstance(raw, int) or isinstance(raw, bool):
            raise Bad("int_type", "Input should be a valid integer")
        if raw < self.low:
            raise Bad("greater_than_equal", f"Input should be greater than or equal to {self.low}", {"ge": self.low})
        if raw > self.high:
            raise Bad("less_than_equal", f"Input should be less than or equal to {self.high}", {"le": self.high})
        return raw

    def limits(self) -> dict[str, Any]:
        """minimum and maximum."""
        return {"minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fraction(Field):
    """A number from 0 to 1."""

    json_type = "number"

    def check(self, raw: Any) -> float:
        """`raw`, if it is one."""
        if not isinstance(raw, int | float) or isinstance(raw, bool):
            raise Bad("float_type", "Input should be a valid number")
        if not 0 <= raw <= 1:
            raise Bad("fraction", "Input should be a number from 0 to 1")
        return float(raw)

    def limits(self) -> dict[str, Any]:
        """minimum and maximum."""
        return {"minimum": 0, "maximum": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag(Field):
    """True or false, in a query also in the other words that FastAPI takes."""

    json_type = "boolean"
    words: ClassVar[dict[str, bool]] = {
        **dict.fromkeys(("true", "1", "yes", "on", "t", "y"), True),
        **dict.fromkeys(("false", "0", "no", "off", "f", "n"), False),
    }

    def check(self, raw: Any) -> bool:
        """`raw` as a boolean."""
        if isinstance(raw, bool):
            return raw
        if isinstance(raw, str) and raw.lower() in self.words:
            return self.words[raw.lower()]
        raise Bad("bool_parsing", "Input should be a valid boolean, unable to interpret input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment(Field):
    """A point in time with its offset (RFC 3339)."""

    def check(self, raw: Any) -> datetime:
        """`raw` in UTC; a moment that has no year there, as the last of 9999 in America, is none."""
        try:
            moment = parse_datetime(raw) if isinstance(raw, str) else None
            in_utc = moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
        except (ValueError, OverflowError):
            in_utc = None
        if in_utc is None:
            raise Bad("datetime_parsing", "Input should be a time with an offset, such as 2030-01-31T12:00:00Z")
        return in_utc

    def limits(self) -> dict[str, Any]:
        """format."""
        return {"format": "date-time"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Many(Field):
    """A JSON list of one kind of value."""

    json_type = "array"
    of: Field
    low: int = 0
    high: int

    def value(self, raw: Any, where: Location, problems: Problems) -> Any:
        """The list, with every item checked."""
        checked = super(Many, self).value(raw, where, problems)  # by name: slots made this class anew
        return checked and [self.of.value(item, (*where, n), problems) for n, item in enumerate(checked)]

    def check(self, raw: Any) -> list[Any]:
        """`raw`, if it is a list of a permitted length."""
        if not isinstance(raw, list):
            raise Bad("list_type", "Input should be a valid list")
        if not self.low <= len(raw) <= self.high:
            raise Bad("list_length", f"List should have {self.low} to {self.high} items")
        return raw

    def limits(self) -> dict[str, Any]:
        """items and their number."""
        low = {"minItems": self.low} if self.low else {}
        return {"items": self.of.schema(), "maxItems": self.high} | low


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Field):
    """A JSON object; fields that it does not declare are ignored, as the engine ignores them."""

    json_type = "object"
    fields: tuple[Field, ...]

    def value(self, raw: Any, where: Location, problems: Problems) -> Any:
        """The declared fields of `raw`, checked."""
        if not isinstance(raw, dict):
            problems.append(Bad("dict_type", "Input should be a valid dictionary").at(where, raw))
            return None
        return read(self.fields, raw, where, problems)

    def limits(self) -> dict[str, Any]:
        """properties and which are required."""
        required = [field.name for field in self.fields if field.is_required]
        properties = {field.name: _nullable(field) for field in self.fields}
        return {"properties": properties} | ({"required": required} if required else {})


def _nullable(field: Field) -> dict[str, Any]:
    schema = field.schema()
    if not field.is_required:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


def read(fields: Sequence[Field], source: Mapping[str, Any], where: Location, problems: Problems) -> dict[str, Any]:
    """Every field's value out of a query, a form or an object."""
    values: dict[str, Any] = {}
    for field in fields:
        raw = source.get(field.name)
        if raw is not None:
            values[field.name] = field.value(raw, (*where, field.name), problems)
        elif not field.is_required:
            values[field.name] = field.default
        else:
            problems.append(Bad("missing", "Field required").at((*where, field.name), None))
    return values


def parse(fields: Sequence[Field], source: Mapping[str, Any], *where: str) -> dict[str, Any]:
    """The same, all or nothing: raises `invalid` with every problem found."""
    problems: Problems = []
    values = read(fields, source, where, problems)
    if problems:
        raise ApiError("invalid", problems)
    return values
