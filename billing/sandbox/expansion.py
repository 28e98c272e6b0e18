"""Puts objects where the API shows ids, for `expand[]`, and properties that Stripe shows on request alone."""

import copy
from collections.abc import Callable
from typing import Any

from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.store import Books

ON_REQUEST: dict[tuple[str, str], Callable[[Books, Json], Any]] = {}
DEEPEST = 4


def on_request(kind: str, name: str) -> Callable[[Callable[[Books, Json], Any]], Callable[[Books, Json], Any]]:
    """Enter the function that makes a property which is shown on request alone."""

    def enter(made: Callable[[Books, Json], Any]) -> Callable[[Books, Json], Any]:
        ON_REQUEST[kind, name] = made
        return made

    return enter


def expanded(books: Books, found: Json, paths: list[str]) -> Json:
    """A copy of the answer with the paths expanded. Raises Refusal for a path that leads nowhere."""
    found = copy.deepcopy(found)
    for path in paths:
        steps = path.split(".")
        if len(steps) - steps.count("data") > DEEPEST:
            raise Refusal(f"You cannot expand more than {DEEPEST} levels of a property. Property: {path}")
        _expand(books, found, steps, path)
    return found


def _expand(books: Books, at: Any, steps: list[str], path: str) -> None:
    if isinstance(at, list):
        for one in at:
            _expand(books, one, steps, path)
        return
    if not steps or not isinstance(at, dict):
        return
    name, *rest = steps
    if maker := ON_REQUEST.get((at.get("object", ""), name)):
        at[name] = copy.deepcopy(maker(books, at))
    elif name not in at:
        raise Refusal(f"This property cannot be expanded ({name}). You passed {path}.", param="expand")
    at[name] = _looked_up(books, at[name])
    _expand(books, at[name], rest, path)


def _looked_up(books: Books, value: Any) -> Any:
    if isinstance(value, list):
        return [_looked_up(books, one) for one in value]
    if isinstance(value, str) and (known := books.peek(value)):
        return copy.deepcopy(known)
    return value
