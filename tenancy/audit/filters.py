"""Turns what somebody looks for in the trail into conditions on its rows, and says which index leads to them."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypedDict

import orjson
from django.db.models import Q

from tenancy.audit.catalogue.action import CATALOGUE
from tenancy.audit.models import AuditEvent, AuditIdentifier, AuditPerson
from tenancy.audit.people import ids_like
from tenancy.audit.services import SYSTEM
from tenancy.models import ApiKey

STAFF = """audit_auditevent.body LIKE '%%"actor":{"kind":"staff",%%'"""  # as the index audit_by_staff has it
MOST_VALUES = 200  # of a lane: each is a descent of its own into an index
MOST_PATTERNS = 16  # above that, one look at the pseudonyms of a body is cheaper than a pattern for each
MOST_NAMES = 10_000  # pseudonyms that a text may stand for
_LABEL = "audit_auditevent.body::json #>> '{{{party},label}}' ILIKE %s"


class Wanted(TypedDict, total=False):
    """What is looked for; what is empty or missing does not matter. All of them must fit.

    `action`: beginnings of names, with commas or blanks between; one of them fits. `actor` and `target`: an id or a
    part of a name, whatever the letters' case. `ip`: a whole address, or one that ends in a dot or colon, for all that
    begin so. `text`: what stands anywhere in the event, or in a name or address in it.
    """

    action: str
    actor: str
    target: str
    ip: str
    text: str
    is_failure: bool
    is_staff: bool


class Condition(NamedTuple):
    """A condition in SQL on rows of audit_auditevent, with its parameters."""

    sql: str
    params: tuple[Any, ...] = ()


class Lane(NamedTuple):
    """A column with an index that leads, newest first, to the rows which have one of these values in it.

    Without a column it is the index of what our staff did.
    """

    column: str
    values: tuple[str, ...]


class Question(NamedTuple):
    """A search, made ready: the lane to go along if there is one, what to ask of rows on it, and all conditions."""

    lane: Lane | None
    rest: tuple[Condition, ...]
    conditions: tuple[Condition, ...]


def question(wanted: Wanted) -> Question | None:
    """What to ask for the organization in scope; None when nothing can fit."""
    texts = [value for value in wanted.values() if isinstance(value, str)]
    if any("\0" in one for one in texts):
        return None  # PostgreSQL stores no NUL, and refuses to look for one
    lanes: list[tuple[Lane | None, tuple[Condition, ...]]] = []  # the narrowest first
    if target := wanted.get("target", "").strip():
        lanes.append(_target(target))
    if actor := wanted.get("actor", "").strip():
        lanes.append(_actor(actor))
    if wanted.get("is_staff"):
        lanes.append((Lane("", ()), ()))
    prefixes = wanted.get("action", "").replace(",", " ").split()
    if prefixes or wanted.get("is_failure"):
        lanes.append((Lane("action", _actions(prefixes, is_failure=bool(wanted.get("is_failure")))), ()))
    if ip := wanted.get("ip", "").strip():
        lanes.append((None, (_ip(ip),)))
    if text := wanted.get("text", "").strip():
        lanes.append((None, (_text(text),)))
    return _asked(lanes)


def _asked(lanes: Sequence[tuple[Lane | None, tuple[Condition, ...]]]) -> Question:
    chosen: Lane | None = None
    rest: list[Condition] = []
    everything: list[Condition] = []
    for lane, more in lanes:
        everything += [*([_of(lane)] if lane else []), *more]
        if lane and chosen is None and len(lane.values) <= MOST_VALUES:
            chosen = lane
            rest += more
        else:
            rest += [*([_of(lane)] if lane else []), *more]
    return Question(chosen, tuple(rest), tuple(everything))


def _of(lane: Lane) -> Condition:
    if not lane.column:
        return Condition(STAFF)
    return Condition(f"audit_auditevent.{lane.column} = ANY(%s)", (list(lane.values),))


def _actions(prefixes: Iterable[str], *, is_failure: bool) -> tuple[str, ...]:
    starts = tuple(prefixes)
    names = [one.name for one in CATALOGUE.values() if one.is_failure or not is_failure]
    if not starts:
        return tuple(names)
    found = [name for name in names if name.startswith(starts)]
    # an action that has left the catalogue is found by its whole name
    return tuple(dict.fromkeys([*found, *(() if is_failure else starts)]))


def _actor(text: str) -> tuple[Lane, tuple[Condition, ...]]:
    people, _ = ids_like(text)
    # a key's label is its name and its first characters: "Server (cmk_4cDBAw…)"
    keys = ApiKey.objects.filter(Q(name__icontains=text) | Q(hint__icontains=text) | Q(name__iexact=_name_of(text)))
    ids = {text, *people, *(str(one) for one in keys.values_list("pk", flat=True))}
    if text.lower() not in SYSTEM.label.lower():
        return Lane("actor_id", tuple(sorted(ids))), ()
    # what has no id is the service itself, or somebody unknown
    condition = Condition(
        f"(audit_auditevent.actor_id <> '' OR {_LABEL.format(party='actor')})", (f"%{_escaped(text)}%",)
    )
    return Lane("actor_id", tuple(sorted({*ids, ""}))), (condition,)


def _name_of(label: str) -> str:
    return label.rpartition(" (")[0] or label


def _target(text: str) -> tuple[Lane | None, tuple[Condition, ...]]:
    """An id that there is leads to its rows; a part of a name can be anybody's or anything's, and is looked for."""
    people, end_users = ids_like(text)
    ids = tuple(sorted({text, *people, *end_users}))
    if "@" in text and ids != (text,):  # of people alone
        return Lane("target_id", ids), ()
    if AuditEvent.objects.filter(target_id=text).exists() or _is_end_user(text):
        return Lane("target_id", ids), ()
    pattern = f"%{_escaped(text)}%"
    in_json = f"%{_escaped(_as_json(text))}%"
    # the body as text is looked at first: to read it as JSON takes ten times as long
    named = f"(audit_auditevent.body ILIKE %s AND {_LABEL.format(party='target')})"
    return None, (Condition(f"(audit_auditevent.target_id = ANY(%s) OR {named})", (list(ids), in_json, pattern)),)


def _is_end_user(text: str) -> bool:
    return AuditPerson.objects.filter(kind="end_user", subject_id=text).exists()


def _ip(text: str) -> Condition:
    is_start = text[-1] in ".:"
    values = {"value__startswith": text} if is_start else {"value": text}
    found = AuditIdentifier.objects.filter(field="ip", **values).values_list("pseudonym", flat=True)
    plain = f'%"ip":"{_escaped(_as_json(text))}{"" if is_start else chr(34)}%'
    return _either("LIKE", plain, [one.hex for one in found[:MOST_NAMES]], '"ip":')


def _text(text: str) -> Condition:
    found = AuditIdentifier.objects.filter(value__icontains=text).values_list("pseudonym", flat=True)
    return _either("ILIKE", f"%{_escaped(_as_json(text))}%", [one.hex for one in found[:MOST_NAMES]])


def _either(like: str, plain: str, pseudonyms: list[str], before: str = "") -> Condition:
    """A body that is like `plain`, or holds one of the pseudonyms, behind `before`."""
    body = "audit_auditevent.body"
    if not pseudonyms:
        return Condition(f"{body} {like} %s", (plain,))
    if len(pseudonyms) <= MOST_PATTERNS:
        stands = [f'%{before}{{"pseudonym":"{one}"}}%' for one in pseudonyms]
        return Condition(f"({body} {like} %s OR {body} LIKE ANY(%s))", (plain, stands))
    pattern = f'{before}\\{{"pseudonym":"([0-9a-f]{{32}})"\\}}'
    named = f"EXISTS (SELECT FROM regexp_matches({body}, %s, 'g') AS m WHERE m[1] = ANY(%s))"
    return Condition(f"({body} {like} %s OR {named})", (plain, pattern, pseudonyms))


def _as_json(text: str) -> str:
    """As it stands within a string of a body."""
    return orjson.dumps(text.encode(errors="replace").decode()).decode()[1:-1]


def _escaped(text: str) -> str:
    """As a part of a LIKE pattern that stands for itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
