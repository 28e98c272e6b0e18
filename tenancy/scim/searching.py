"""Finds resources by filter, order and page: each search is one statement for the ids, beside one that counts."""

# ruff: noqa: S608  # names of tables and columns are ours; whatever a client sends is bound

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from django.db import connection
from scim2_models import InvalidCursorException, ScimFilter, SearchRequest
from scim2_models.path import AttributeBinding

from tenancy.scim.candidates import candidates
from tenancy.scim.filters import FALSE, TRUE, Sql, condition, is_moment, text_of, values_of
from tenancy.scim.tables import Place, as_id

MOMENT = """'YYYY-MM-DD"T"HH24:MI:SS.US'"""


@dataclass(frozen=True, slots=True)
class Found:
    """A resource that was found: its type, its id, and what it was sorted by."""

    kind: str
    id: UUID
    key: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of what was found; `total` is None where nobody counted."""

    found: list[Found]
    total: int | None
    has_more: bool
    has_less: bool


class Search:
    """One search over places of a directory."""

    def __init__(self, directory_id: UUID, places: list[Place], request: SearchRequest[Any]) -> None:
        self.request = request
        self.is_sorted = request.sort_by is not None
        self.is_descending = self.is_sorted and request.sort_order == SearchRequest.SortOrder.descending
        selects = [self._select(place, directory_id) for place in places]
        text = " UNION ALL ".join(one.text for one in selects)
        self.source = Sql(f"FROM ({text}) AS found", tuple(p for one in selects for p in one.params))

    def by_index(self, known_total: int | None) -> Page:
        """The page that begins at `startIndex`."""
        start, count = self.request.start_index_0 or 0, self.request.count
        found = self._rows(TRUE, count, start)
        if known_total is None:
            # a page that is not full says itself how many there are
            is_last = (count is None or len(found) < count) and (bool(found) or start == 0)
            known_total = start + len(found) if is_last else self._count()
        return Page(found, known_total, has_more=False, has_less=False)

    def by_cursor(self, position: Any, known_total: int | None) -> Page:
        """The page after, or before, a position."""
        count = self.request.count
        if count == 0:
            return Page([], known_total, has_more=False, has_less=False)
        if position is None:
            found = self._rows(TRUE, None if count is None else count + 1, 0)
            return Page(found[:count], known_total, count is not None and len(found) > count, has_less=False)
        is_back, key, last = _read(position)
        found = self._rows(self._beyond(key, last, is_back=is_back), None if count is None else count + 1, 0, is_back)
        has_beyond = count is not None and len(found) > count
        found = found[:count]
        if is_back:
            return Page(found[::-1], known_total, has_more=True, has_less=has_beyond)
        return Page(found, known_total, has_more=has_beyond, has_less=True)

    def _select(self, place: Place, directory_id: UUID) -> Sql:
        where = Sql(f"{place.name}.directory_id = %s", (directory_id,))
        if self.request.filter is not None:
            bound: ScimFilter[Any] = cast("Any", ScimFilter)[place.model](self.request.filter)
            where = _and(where, condition(bound, place.table))
            if few := candidates(bound, place.indexes):
                where = _and(where, Sql(f"{place.name}.id IN ({few.text})", few.params))
        key = self._key(place)
        head = f"SELECT %s::text AS kind, {place.name}.id, {key.text} AS key FROM {place.name} WHERE {where.text}"
        return Sql(head, (str(place.resource_type.name), *key.params, *where.params))

    def _key(self, place: Place) -> Sql:
        binding = self.request.sort_binding(place.model)
        if binding is None:
            return Sql('(NULL::text COLLATE "C")')
        if not binding.is_multivalued:
            return _as_text(text_of(place.table, binding), binding)
        values = values_of(place.table, binding)
        value = values.subs[binding.sub_field_name or ""]
        primary = values.subs.get("primary", FALSE)  # the primary value, or else the first
        by = f"ORDER BY ({primary.text})::text = 'true' DESC NULLS LAST, {values.order}"
        text = f"(SELECT {value.text} FROM {values.source.text} {by} LIMIT 1)"
        return Sql(text, (*value.params, *values.source.params, *primary.params))

    def _rows(self, where: Sql, limit: int | None, offset: int, is_back: bool = False) -> list[Found]:
        down = self.is_descending != is_back
        direction, nulls = ("DESC", "FIRST") if down else ("ASC", "LAST")
        key = f'key COLLATE "C" {direction} NULLS {nulls}, ' if self.is_sorted else ""
        text = (
            f"SELECT kind, id, key {self.source.text} WHERE {where.text} "
            f"ORDER BY {key}id {direction} LIMIT %s OFFSET %s"
        )
        with connection.cursor() as cursor:
            cursor.execute(text, [*self.source.params, *where.params, limit, offset])
            return [Found(*row) for row in cursor.fetchall()]

    def _count(self) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) {self.source.text}", self.source.params)
            return int(cursor.fetchone()[0])

    def _beyond(self, key: str | None, last: UUID, *, is_back: bool) -> Sql:
        """What comes after a position in the order of the page, as it is read: NULL is the greatest key."""
        than = "<" if self.is_descending != is_back else ">"
        if not self.is_sorted:
            return Sql(f"id {than} %s", (last,))
        if key is None:
            same = Sql(f"(key IS NULL AND id {than} %s)", (last,))
            return same if than == ">" else Sql(f"(key IS NOT NULL OR {same.text})", same.params)
        text = f'(key COLLATE "C" {than} %s OR (key = %s AND id {than} %s){" OR key IS NULL" if than == ">" else ""})'
        return Sql(text, (key, key, last))


def position_of(found: Found, *, is_back: bool) -> dict[str, Any]:
    """The position of the page that begins after, or ends before, what was found; JSON can hold it."""
    return {"b": is_back, "k": found.key, "i": str(found.id)}


def _read(value: Any) -> tuple[bool, str | None, UUID]:
    try:
        is_back, key, last = value["b"], value["k"], as_id(value["i"])
    except (TypeError, KeyError):
        raise InvalidCursorException from None
    if last is None or not (key is None or isinstance(key, str)):
        raise InvalidCursorException
    return bool(is_back), key, last


def _and(*terms: Sql) -> Sql:
    return Sql(" AND ".join(term.text for term in terms), tuple(p for term in terms for p in term.params))


def _as_text(value: Sql, binding: AttributeBinding) -> Sql:
    if is_moment(binding):
        return Sql(f"(to_char({value.text} AT TIME ZONE 'UTC', {MOMENT}) COLLATE \"C\")", value.params)
    return value
