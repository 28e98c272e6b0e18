"""A statement is checked without a database, and whatever is changed in it or in the events is found."""

import ast
import base64
import copy
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from billing.invoicing import services
from billing.invoicing.selectors.statements import exported_events, statement
from billing.invoicing.statement import FORMAT, canonical, signed_bytes
from billing.metering.meters import GAUGES, Meter
from billing.plans import ALLOWANCE_METERS
from capsule_cloud.lib import crypto
from capsule_cloud.management.commands.verify_statement import program
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.billing.invoicing.conftest import CLOSED_AT, END, PERIOD, START, subscribe, used
from tests.factories import Tenant

Json = dict[str, Any]
Lines = list[bytes]


@pytest.fixture
def proof(committed: Tenant) -> tuple[Json, Lines]:
    """A signed statement of an invoiced month, and its events."""
    subscribe(committed, seats=2)
    for day in range(3):
        used(committed, 100_000, START + timedelta(days=day))
        used(committed, 7, START + timedelta(days=day, minutes=1), Meter.READ)
        used(committed, 11, START + timedelta(days=day), Meter.SEAT)
        used(committed, 12 * 10**9, START + timedelta(days=day), Meter.STORED_BYTES)
    with scope(committed.organization):
        services.close_period(actor=SYSTEM, period=PERIOD, now=CLOSED_AT)
    used(committed, 5, START)  # late: the next invoice's
    with scope(committed.organization):
        signed = statement(PERIOD)
        return signed.as_json(), list(exported_events(PERIOD, signed.statement["watermark"]))


def no_queries(*args: Any) -> None:
    """Stands where a query would go to the database."""
    raise AssertionError("The command is for people who have no database.")


def verify(folder: Path, signed: Json, lines: Lines, *more: str) -> str:
    """What the command prints; raises CommandError with what differs. It asks no database."""
    (folder / "statement.json").write_text(json.dumps(signed))
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    output = StringIO()
    files = (str(folder / "statement.json"), "--events", str(folder / "events.jsonl"))
    with connection.execute_wrapper(no_queries):
        call_command("verify_statement", *files, *more, stdout=output)
    return output.getvalue()


def resigned(signed: Json) -> Json:
    """With the signature of somebody else, who changed it."""
    private = crypto.new_signing_key()
    value = base64.b64encode(crypto.sign(private, signed_bytes(signed["statement"]))).decode()
    public = base64.b64encode(crypto.public_key(private)).decode()
    return {"statement": signed["statement"], "signature": signed["signature"] | {"value": value, "public_key": public}}


def test_an_honest_statement_holds(proof: tuple[Json, Lines], tmp_path: Path) -> None:
    signed, lines = proof
    assert signed["statement"]["meters"] == {"read": 21, "recall": 300_000, "seat": 11, "stored_bytes": 12 * 10**9}
    assert "3 hours, 12 events" in verify(tmp_path, signed, lines)
    assert "Everything holds" in verify(tmp_path, signed, lines, "--public-key", signed["signature"]["public_key"])


def change_event(**values: Any) -> Callable[[Json, Lines], Lines]:
    """Change the first event."""

    def change(signed: Json, lines: Lines) -> Lines:
        return [canonical(json.loads(lines[0]) | values) + b"\n", *lines[1:]]

    return change


CHANGES_OF_EVENTS: dict[str, tuple[Callable[[Json, Lines], Lines], str]] = {
    "one is missing": (lambda signed, lines: lines[1:], "the events say 0"),
    "one is there twice": (lambda signed, lines: [lines[0], *lines], "is there twice"),
    "two changed places": (lambda signed, lines: [lines[1], lines[0], *lines[2:]], "out of order"),
    "one is no JSON": (lambda signed, lines: [b"{\n", *lines], "Line 1 of the events is none."),
    "one is a list": (lambda signed, lines: [b"[]\n", *lines], "Line 1 of the events is none."),
    "one has no time zone": (change_event(at="2026-08-01T00:00:00"), "Line 1 of the events is none."),
    "a quantity is another": (change_event(quantity=1), "the events say 1."),
    "a meter is another": (change_event(meter="ingest"), "ingest: the statement says quantity 0"),
    "a person is another": (change_event(end_user="eve"), "the hash of the events is another one"),
    "a moment is another": (change_event(at=END.isoformat()), "is of another period"),
}


@pytest.mark.parametrize("name", CHANGES_OF_EVENTS)
def test_changed_events_are_found(name: str, proof: tuple[Json, Lines], tmp_path: Path) -> None:
    change, words = CHANGES_OF_EVENTS[name]
    signed, lines = proof
    with pytest.raises(CommandError, match=words):
        verify(tmp_path, signed, change(signed, lines))


def put(value: Any, *path: Any) -> Callable[[Json], None]:
    """Write a value into the statement."""

    def change(statement: Json) -> None:
        for step in path[:-1]:
            statement = statement[step]
        statement[path[-1]] = value

    return change


CHANGES: dict[str, tuple[Callable[[Json], None], str]] = {
    "an hour's sum": (put(5, "hours", 0, "meters", "recall", "quantity"), "the statement says quantity 5"),
    "an hour's count": (put(5, "hours", 0, "meters", "recall", "events"), "the statement says events 5"),
    "an hour's hash": (put("00", "hours", 1, "sha256"), "the chain is broken"),
    "an hour's link": (put("00", "hours", 0, "chain"), "the chain is broken"),
    "the end of the chain": (put("00", "chain"), "The chain does not end"),
    "a meter": (put(1, "meters", "recall"), "recall: the statement says 1, its hours say 300000"),
    "a price": (put("0.5", "invoice", "lines", 1, "unit_price"), "quantity times price"),
    "an amount": (put(1, "invoice", "lines", 1, "amount"), "quantity times price"),
    "a use": (put(1, "invoice", "lines", 1, "used"), "the hours say"),
    "what is included": (put(1, "invoice", "terms", "allowances", "operations", "quantity"), "the hours say"),
    "the total": (put(1, "invoice", "total"), "its lines come to"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_statement_that_contradicts_itself_is_found_whoever_signs_it(
    name: str, proof: tuple[Json, Lines], tmp_path: Path
) -> None:
    change, words = CHANGES[name]
    signed, lines = copy.deepcopy(proof[0]), proof[1]
    change(signed["statement"])
    with pytest.raises(CommandError, match=words):
        verify(tmp_path, resigned(signed), lines)
    with pytest.raises(CommandError, match="The signature is not one of this statement"):
        verify(tmp_path, signed, lines)


def test_another_s_signature_is_found(proof: tuple[Json, Lines], tmp_path: Path) -> None:
    signed, lines = proof
    forged = resigned(signed)
    assert "Everything holds" in verify(tmp_path, forged, lines)  # nobody said whose it must be
    with pytest.raises(CommandError, match="another key"):
        verify(tmp_path, forged, lines, "--public-key", signed["signature"]["public_key"])


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"statement": {}, "signature": {}}', '{"statement": 1, "signature": 2}']
)
def test_another_file_is_no_statement(content: str, tmp_path: Path) -> None:
    (tmp_path / "statement.json").write_text(content)
    (tmp_path / "events.jsonl").write_text("")
    with pytest.raises(CommandError, match="no usage statement"):
        call_command("verify_statement", str(tmp_path / "statement.json"), "--events", str(tmp_path / "events.jsonl"))
    with pytest.raises(CommandError, match="No such file"):
        call_command("verify_statement", str(tmp_path / "nothing.json"), "--events", str(tmp_path / "events.jsonl"))


PROGRAM = Path("docs/api/verify_statement.py").resolve()
verifier = program()


def test_the_program_needs_cryptography_and_nothing_of_ours() -> None:
    imported = {
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else node.names[0].name.split(".")[0]
        for node in ast.walk(ast.parse(PROGRAM.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported - sys.stdlib_module_names == {"cryptography"}
    assert {one: {meter.value for meter in of} for one, of in ALLOWANCE_METERS.items()} == verifier.METERS
    assert {meter.value for meter in GAUGES} == verifier.SAMPLED
    assert verifier.FORMAT == FORMAT


@pytest.mark.parametrize(("quantity", "status"), [(100_000, 0), (100_001, 1)])
def test_the_program_runs_by_itself(quantity: int, status: int, proof: tuple[Json, Lines], tmp_path: Path) -> None:
    signed, lines = proof
    (tmp_path / "statement.json").write_text(json.dumps(signed))
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines).replace(b":100000}", f":{quantity}}}".encode()))
    key = signed["signature"]["public_key"]
    # isolated: neither our folder nor our settings are there
    command = [sys.executable, "-I", str(PROGRAM), "statement.json", "events.jsonl", "--public-key", key]
    ran = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == status, ran.stderr
    assert ("Everything holds" in ran.stdout) == (status == 0)
    ran = subprocess.run(
        [*command[:3], *["events.jsonl"] * 2], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in inner:
        yield from leaves(one, (*path, step))


VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({})
)


def is_caught(signed: Any, lines: Lines, *more: str) -> bool:
    try:
        return bool(verifier.verify(signed, lines, *more))
    except verifier.Unreadable:
        return True


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_is_changed_in_a_statement_is_found(proof: tuple[Json, Lines], data: st.DataObject) -> None:
    changed = copy.deepcopy(proof[0])
    *steps, last = data.draw(st.sampled_from([path for path in leaves(changed) if path]))
    holder = changed
    for step in steps:
        holder = holder[step]
    old = copy.deepcopy(holder[last])
    what = data.draw(st.sampled_from(["another", "gone", "more"]))
    if what == "another":
        holder[last] = data.draw(VALUES)
        assume(json.dumps(holder[last]) != json.dumps(old))
    elif what == "gone":
        del holder[last]
    else:
        assume(isinstance(old, dict))
        holder[last] = {**old, data.draw(st.text().filter(lambda name: name not in old)): 1}
    assert is_caught(changed, proof[1])
    assert not is_caught(*proof)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_is_changed_in_the_events_is_found(proof: tuple[Json, Lines], data: st.DataObject) -> None:
    content = bytearray(b"".join(proof[1]))
    at = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["another", "gone", "more", "short"])):
        case "another":
            content[at] ^= data.draw(st.integers(1, 255))
        case "gone":
            del content[at]
        case "more":
            content.insert(at, data.draw(st.integers(0, 255)))
        case _:
            del content[at:]
    changed = io.BytesIO(bytes(content)).readlines()
    assume(changed != proof[1])
    assert is_caught(proof[0], changed)


# What somebody who signs anew can change and nobody can tell from the file alone: names, and who has not used anything
AMOUNTS = ("quantity", "unit_price", "amount", "remainder", "used", "total", "fee", "events", "covered")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_number_that_is_changed_is_found_whoever_signs_it(proof: tuple[Json, Lines], data: st.DataObject) -> None:
    changed = copy.deepcopy(proof[0])
    paths = [path for path in leaves(changed["statement"]) if path and path[-1] in AMOUNTS]
    *steps, last = data.draw(st.sampled_from(paths))
    holder = changed["statement"]
    for step in steps:
        holder = holder[step]
    assume(type(holder[last]) is not dict and holder[last] is not None)
    more = data.draw(st.integers(1, 10**6))
    holder[last] = holder[last] + more if isinstance(holder[last], int) else f"{Decimal(holder[last]) + more:f}"
    # of an allowance that nobody used there is no line that could be wrong
    assume(steps[:3] != ["invoice", "terms", "allowances"] or steps[3] in {"operations", "stored_bytes", "seats"})
    assert is_caught(resigned(changed), proof[1])
    assert is_caught(resigned(proof[0]), proof[1], proof[0]["signature"]["public_key"])


@pytest.mark.parametrize("path", [("hours",), ("hours", 0, "meters"), ("invoice", "lines"), ("period", "hours")])
def test_a_statement_with_holes_is_none(path: tuple[Any, ...], proof: tuple[Json, Lines], tmp_path: Path) -> None:
    signed = copy.deepcopy(proof[0])
    put(7, *path)(signed["statement"])
    with pytest.raises(CommandError, match="no usage statement"):
        verify(tmp_path, resigned(signed), proof[1])


def test_the_command_writes_what_the_other_one_checks(committed: Tenant, tmp_path: Path) -> None:
    used(committed, 3, START + timedelta(hours=1))  # on the free plan, without an invoice
    of = ("--organization", committed.organization.slug, "--start", "2026-08-01", "--end", END.isoformat())
    call_command("usage_statement", *of, "--into", str(tmp_path / "proof"), stdout=StringIO())
    signed = json.loads((tmp_path / "proof/statement.json").read_text())
    assert signed["statement"]["invoice"] is None
    lines = (tmp_path / "proof/events.jsonl").read_bytes().splitlines(keepends=True)
    assert "1 hours, 1 events" in verify(tmp_path, signed, lines)
    with pytest.raises(CommandError, match="There is no organization"):
        call_command("usage_statement", "--organization", "nobody-here", *of[2:])
    with pytest.raises(CommandError, match="ends after it begins"):
        call_command("usage_statement", *of[:4], "--end", "2026-08-01")


def test_a_period_without_use_has_a_statement_too(committed: Tenant, tmp_path: Path) -> None:
    with scope(committed.organization):
        signed = statement((datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)))
    assert "0 hours, 0 events" in verify(tmp_path, signed.as_json(), [])
