"""Writes whom the pseudonyms in an export stand for, into a file beside it, for people who read it."""

from pathlib import Path

from django.db import connection
from psycopg import sql

from tenancy.scope import current_organization_id

_GUARDED = "CASE WHEN left({0}, 1) IN ('=', '+', '-', '@', E'\\t', E'\\r') THEN '''' || {0} ELSE {0} END"
_STATEMENT = (
    "COPY (SELECT replace(i.pseudonym::text, '-', '') AS pseudonym, p.kind, i.field, {value} AS value "
    "FROM audit_auditidentifier i JOIN audit_auditperson p "
    "ON p.organization_id = i.organization_id AND p.id = i.person_id "
    "WHERE i.organization_id = {organization} ORDER BY i.id) TO STDOUT (FORMAT csv, HEADER)"
)


def write(path: Path) -> None:
    """Everybody whom the trail of the organization in scope names, the erased excepted: pseudonym, kind, field, value.

    Cells that a spreadsheet would compute get an apostrophe in front.
    """
    statement = sql.SQL(_STATEMENT).format(
        value=sql.SQL(_GUARDED.format("i.value")), organization=sql.Literal(current_organization_id())
    )
    with path.open("wb") as file, connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in copy:
            file.write(block)
