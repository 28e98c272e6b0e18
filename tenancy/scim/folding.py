"""Brings resources into the form in which filters compare them: a document of texts as `comparable` gives them.

Strings are in NFC and in small letters, unless their attribute is case-exact, as `scim2_models` compares them. The
document keeps the directory's id as its one key: so an entry of the index over it is one directory's alone.
"""

import base64
from functools import cache
from inspect import isclass
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel
from scim2_models import CaseExact, Extension, InvalidValueException, default_comparison_key

# What columns, or rows of their own, hold; a password is compared with nothing.
ELSEWHERE = frozenset({"id", "external_id", "user_name", "meta", "groups", "members", "password"})
_EXACT, _ANY = SimpleNamespace(case_exact=True), SimpleNamespace(case_exact=False)


def fold(value: str, *, is_exact: bool = False) -> str:
    """A text as it is compared. Raises InvalidValueException for one that cannot be stored."""
    if "\x00" in value:
        raise InvalidValueException(detail="A text holds no NUL.")
    return default_comparison_key(_EXACT if is_exact else _ANY, value)


def folded(resource: BaseModel, schemas: list[str]) -> dict[str, Any]:
    """The attributes of a resource, as they are compared; what has no value is not in it.

    `schemas` are those that it is shown with: the model names every one that it could have.
    """
    is_exact = type(resource).get_field_annotation("schemas", CaseExact) == CaseExact.true  # type: ignore[attr-defined]
    found = _model(resource, is_top=True) or {}
    return found | {"schemas": [fold(one, is_exact=is_exact) for one in schemas]}


@cache
def _fields(model: type[Any], *, is_top: bool) -> list[tuple[str, str, bool]]:
    """Each attribute: how it is called in Python and in the document, and whether its case counts."""
    return [
        (name, key_of(model, name), model.get_field_annotation(name, CaseExact) == CaseExact.true)
        for name in model.model_fields
        if not (is_top and name in ELSEWHERE)
    ]


def key_of(model: type[Any], name: str) -> str:
    """What the document calls an attribute: an extension by its schema, others by their names."""
    return str(model._scim_name(name))


def _model(value: BaseModel, *, is_top: bool) -> dict[str, Any] | None:
    found = {}
    for name, key, is_exact in _fields(type(value), is_top=is_top):
        item = _value(getattr(value, name, None), is_exact=is_exact)
        if item is not None:
            found[key] = item
    return found or None


def _value(value: Any, *, is_exact: bool) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return fold(value, is_exact=is_exact)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [item for one in value if (item := _value(one, is_exact=is_exact)) is not None] or None
    return _model(value, is_top=False)


def is_extension(model: Any) -> bool:
    """Whether a model extends a resource."""
    return isclass(model) and issubclass(model, Extension)
