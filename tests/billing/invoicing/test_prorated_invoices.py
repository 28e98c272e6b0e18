"""A month in which the plan, the seats or the agreement changed: billed, late, explained, replayed and proved."""

import json
import subprocess
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from billing.invoicing import services
from billing.invoicing.models import Invoice, InvoiceLine
from billing.invoicing.selectors.explaining import events_of, explain
from billing.invoicing.selectors.replaying import replay
from billing.invoicing.selectors.statements import exported_events, statement
from billing.invoicing.services import change_agreement
from billing.metering.meters import Meter
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.billing.invoicing.conftest import CLOSED_AT, END, NEXT, NEXT_CLOSED_AT, PERIOD, START, sign, subscribe, used
from tests.factories import Tenant

MIDDLE = START + timedelta(days=10, hours=12, minutes=30)
MONTH = END - START


def close(tenant: Tenant, period: tuple[datetime, datetime] = PERIOD, now: datetime = CLOSED_AT) -> Invoice:
    with scope(tenant.organization):
        return services.close_period(actor=SYSTEM, period=period, now=now)


def lines(tenant: Tenant, invoice: Invoice, kind: str) -> list[InvoiceLine]:
    with scope(tenant.organization):
        return list(invoice.lines.filter(kind=kind).order_by("place"))


@pytest.fixture
def upgraded(committed: Tenant) -> Tenant:
    """On pro with 12 seats until MIDDLE, then on scale with 30."""
    subscribe(committed, seats=12)
    with scope(committed.organization):
        change_agreement(actor=committed.actor, plan_key="scale", seats=30, now=MIDDLE)
    used(committed, 150_000, MIDDLE - timedelta(hours=1))
    used(committed, 2_600_000, MIDDLE.replace(minute=1))  # the hour that is cut is of the later plan
    used(committed, 5, END - timedelta(hours=1), Meter.INGEST)
    return committed


def test_each_part_is_billed_by_what_was_in_force(upgraded: Tenant) -> None:
    invoice = close(upgraded)
    share = (MIDDLE - START) / MONTH
    plans = lines(upgraded, invoice, "plan")
    assert [line.amount for line in plans] == [round(29_00 * share), round(249_00 * (1 - share))]
    assert [line.how["plan"] for line in plans] == ["pro v1", "scale v1"]
    seats = lines(upgraded, invoice, "seats")
    assert [(line.quantity, line.amount) for line in seats] == [
        (2, round(2 * 9_00 * share)),
        (5, round(5 * 8_00 * (1 - share))),
    ]
    operations = lines(upgraded, invoice, "usage")
    assert [line.how["used"] for line in operations] == [150_000, 2_600_005]
    assert [line.unit_price for line in operations] == [Decimal("0.012"), Decimal("0.008")]
    assert [line.quantity for line in operations] == [
        150_000 - round(250_000 * share),
        2_600_005 - round(3_000_000 * (1 - share)),
    ]
    with scope(upgraded.organization):
        assert all(
            line.amount + line.covered + line.remainder == line.quantity * line.unit_price
            for line in invoice.lines.all()
        )


def test_late_use_of_a_part_is_adjusted_by_its_plan_and_a_replay_finds_nothing(upgraded: Tenant) -> None:
    first = close(upgraded)
    used(upgraded, 1_000, START + timedelta(hours=3))
    with scope(upgraded.organization):
        [found] = replay(*PERIOD)
    assert found.differences == [
        "operations: 150,000 billed, 151,000 used: $0.12 for the adjustments of the next invoice"
    ]
    second = close(upgraded, NEXT, NEXT_CLOSED_AT)
    [line] = lines(upgraded, second, "adjustment")
    assert (line.quantity, line.unit_price, line.amount) == (1_000, Decimal("0.012"), 12)
    assert (line.how["billed"], line.how["used"], line.how["plan"]) == (150_000, 151_000, "pro v1")
    with scope(upgraded.organization):
        assert [one.differences for one in replay(START, NEXT[1])] == [[], []]
        assert explain(line).measured == 1_000
    assert first.total == sum(
        line.amount for kind in ("plan", "seats", "usage") for line in lines(upgraded, first, kind)
    )


def test_a_part_s_line_is_explained_by_its_own_hours(upgraded: Tenant) -> None:
    before, after = lines(upgraded, close(upgraded), "usage")
    with scope(upgraded.organization):
        assert explain(before).measured == 150_000
        assert [event.quantity for event in events_of(after)] == [2_600_000, 5]
        assert after.how["hours"] == [MIDDLE.replace(minute=0).isoformat(), END.isoformat()]


def test_the_program_of_one_file_checks_parts_too(upgraded: Tenant, tmp_path: Path) -> None:
    close(upgraded)
    with scope(upgraded.organization):
        signed = statement(PERIOD).as_json()
        (tmp_path / "e").write_bytes(b"".join(exported_events(PERIOD, signed["statement"]["watermark"])))
    (tmp_path / "s").write_text(json.dumps(signed))
    command = [sys.executable, "docs/api/verify_statement.py", str(tmp_path / "s"), str(tmp_path / "e")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    for line in signed["statement"]["invoice"]["lines"]:
        line["quantity"] += 1
    (tmp_path / "s").write_text(json.dumps(signed))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    count = len(signed["statement"]["invoice"]["lines"])
    assert ran.stdout.count(" are not ") == count


def test_who_leaves_in_the_middle_pays_for_the_days_until_then(committed: Tenant) -> None:
    subscribe(committed, status="canceled", ended_at=MIDDLE)
    used(committed, 250_001, START)
    invoice = close(committed, (START, MIDDLE))
    [line] = lines(committed, invoice, "plan")
    assert line.amount == round(29_00 * ((MIDDLE - START) / MONTH))
    assert [one.quantity for one in lines(committed, invoice, "usage")] == [1]  # all that the plan includes was there


def test_seats_of_a_contract_change_in_its_month(committed: Tenant) -> None:
    sign(committed, seats=110, seat_price=10_00)
    with scope(committed.organization):
        change_agreement(actor=committed.actor, seats=130, now=MIDDLE)
    used(committed, 7, START)
    invoice = close(committed)
    share = (MIDDLE - START) / MONTH
    assert [line.amount for line in lines(committed, invoice, "seats")] == [
        round(10 * 10_00 * share),
        round(30 * 10_00 * (1 - share)),
    ]
    assert [line.amount for line in lines(committed, invoice, "plan")] == [1_000_00]
    assert [line.how["hours"] for line in lines(committed, invoice, "usage")] == [[START.isoformat(), END.isoformat()]]
    second = close(committed, NEXT, NEXT_CLOSED_AT)
    assert [line.amount for line in lines(committed, second, "seats")] == [30 * 10_00]


def test_a_change_after_the_period_does_not_touch_it(committed: Tenant) -> None:
    subscribe(committed)
    with scope(committed.organization):
        change_agreement(actor=committed.actor, plan_key="scale", now=END + timedelta(hours=1))
    assert [line.amount for line in lines(committed, close(committed), "plan")] == [29_00]
