"""Measures how long the month's invoices of a thousand organizations take, from ended periods to open invoices.

`python -m tests.bench.month_close [--organizations N]` prints a table in Markdown.
"""

import argparse
import importlib
import time

import django
import psycopg

from capsule_cloud.lib import embedded
from tests.bench import report
from tests.bench.house import house
from tests.bench.machine import Cpu
from tests.bench.report import Row

ORGANIZATIONS, ALLOWED = 1_000, 60.0  # seconds
# Two months of hours, three meters in each, and the month before invoiced: late use of it is looked for too. Raw events
# are not read when a month is closed.
FILL = """
CREATE TEMP TABLE born AS SELECT n, gen_random_uuid() AS org, gen_random_uuid() AS project
    FROM generate_series(1, {organizations}) AS n;
INSERT INTO tenancy_organization (id, slug, name, region, is_mfa_required, signing_key, project_limit, member_limit,
        key_limit, requests_per_minute, created_at, period_start, period_end)
    SELECT org, 'org-' || org, 'Org ' || n, 'eu', false, '', 5, 10, 50, 3000, '2026-08-01Z', '2026-10-01Z',
        '2026-11-01Z'
    FROM born;
INSERT INTO tenancy_project (id, organization_id, name, slug, cors_origins, turn_retention_days, idle_seal_minutes,
        created_at)
    SELECT project, org, 'Default', 'default', '{{}}', 90, 30, now() FROM born;
INSERT INTO billing_subscription (id, organization_id, plan_key, plan_version, interval, status, source, seats,
        paid_seats, seat_line_id, seat_line_amount, period_start, period_end, trial_reminders, schedule_id,
        scheduled_plan_key, scheduled_interval, revision, change_token, created_at)
    SELECT gen_random_uuid(), org, 'pro', 1, 'monthly', 'active', 'manual', 12, 0, '', 0, '2026-08-01Z', '2026-09-01Z',
        '[]', '', '', '', 0, '', '2026-08-01Z'
    FROM born;
INSERT INTO metering_usagehour (id, organization_id, project_id, meter, hour, quantity, events)
    SELECT gen_random_uuid(), org, project, meter, hour, 300 + n, 10
    FROM born, unnest(ARRAY['ingest', 'recall', 'read']) AS meter,
        generate_series('2026-08-01Z'::timestamptz, '2026-09-30 23:00Z', interval '1 hour') AS hour;
DROP TABLE born;
"""
# The month before is paid when the next one is closed: letters to who is overdue are dunning's, and another measure.
PAID = """
UPDATE invoicing_invoice SET state = 'paid', settled_at = issued_at, settlement = 'Bank transfer';
UPDATE billing_debt SET settled_at = now();
"""


def main() -> None:
    """Make the organizations, close August unmeasured, close September measured, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--organizations", type=int, default=ORGANIZATIONS)
    organizations = parser.parse_args().organizations
    with house():
        django.setup()
        with psycopg.connect(embedded.urls().superuser, dbname=embedded.DATABASE, autocommit=True) as server:
            server.execute(FILL.format(organizations=organizations).encode())
            closing = importlib.import_module("tests.bench.closing")  # it needs the models, and they the setup
            closing.close("2026-09")
            server.execute(PAID)
            server.execute("VACUUM ANALYZE")
        cpu, began, own = Cpu(), time.perf_counter(), time.process_time()
        invoiced = closing.close("2026-10")
        took, own, database = time.perf_counter() - began, time.process_time() - own, cpu.servers()
        others = cpu.others()
    if invoiced != organizations:
        raise SystemExit(f"{invoiced} of {organizations} months were closed.")
    allowed = ALLOWED * organizations / ORGANIZATIONS
    row = Row(
        "a month's invoices, from its end to open",
        f"{took:.1f} s, {took / organizations * 1000:.0f} ms each",
        f"{own / organizations * 1000:.0f} ms each, and {database / organizations * 1000:.0f} ms of PostgreSQL",
        "",
        f"≤ {allowed:g} s",
        took <= allowed,
    )
    print(report.table((f"{organizations:,} organizations, one worker", "its CPU"), [row]))
    print(f"\nOthers used {others:.0%} of the machine meanwhile.")


if __name__ == "__main__":
    main()
