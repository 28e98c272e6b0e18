"""Measures what a tenant waits for beside ten other organizations and beside a hundred thousand.

`python -m tests.bench.tenants [--organizations N]` prints a table in Markdown.
"""

import argparse
import importlib
from statistics import median, quantiles

import django
import psycopg

from capsule_cloud.lib import embedded
from tests.bench import report
from tests.bench.house import house, product

FEW, MANY = 10, 100_000
ALLOWED = 2.0  # a B-tree over 10,000 times the rows has two or three more levels
READY = 1.0  # seconds
SIGN_UP = "sign-up committed, key made, first call answered"

# Organizations with all that a lookup or a sum passes by, as the superuser: the services would take hours.
FILL = """
CREATE TEMP TABLE born AS SELECT n, gen_random_uuid() AS org, gen_random_uuid() AS person, gen_random_uuid() AS project
    FROM generate_series(1, {organizations}) AS n;
INSERT INTO tenancy_user (id, email, name, password, is_staff, is_active, is_superuser, created_at)
    SELECT person, person || '@example.com', 'Ada', '!', false, true, false, now() FROM born;
INSERT INTO tenancy_user (id, email, name, password, is_staff, is_active, is_superuser, created_at)
    VALUES (gen_random_uuid(), 'founder@example.com', 'Ada', '!', false, true, false, now());
INSERT INTO tenancy_organization (id, slug, name, region, is_mfa_required, signing_key, project_limit, member_limit,
        key_limit, requests_per_minute, created_at)
    SELECT org, 'org-' || org, 'Org ' || n, 'eu', false, '', 5, 10, 50, 3000, now() FROM born;
INSERT INTO tenancy_membership (id, organization_id, user_id, role, created_at)
    SELECT gen_random_uuid(), org, person, 'owner', now() FROM born;
INSERT INTO tenancy_project (id, organization_id, name, slug, cors_origins, turn_retention_days, idle_seal_minutes,
        created_at)
    SELECT project, org, 'Default', 'default', '{{}}', 90, 30, now() FROM born;
INSERT INTO tenancy_apikey (id, organization_id, project_id, created_by_id, name, hint, digest, scopes, allowed_cidrs,
        created_at, last_used_at)
    SELECT gen_random_uuid(), org, project, person, 'Key', 'cmk_000000', sha256((org::text || k)::bytea),
        '{{memory:read}}', '{{}}', now(), now() FROM born, generate_series(1, 2) AS k;
INSERT INTO audit_auditevent (id, organization_id, action, actor_id, target_id, body)
    SELECT uuidv7(), org, 'organization.created', '', '', '{{}}' FROM born;
INSERT INTO metering_usagehour (id, organization_id, project_id, meter, hour, quantity, events)
    SELECT gen_random_uuid(), org, project, 'recall', date_trunc('hour', now()) - interval '1 hour' * h, 1, 1
    FROM born, generate_series(1, 5) AS h;
DROP TABLE born;
"""

Figures = dict[str, list[float]]  # seconds


def main() -> None:
    """Make two databases, take turns between them, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--organizations", type=int, default=MANY)
    many = parser.parse_args().organizations
    with house():
        django.setup()
        waits = importlib.import_module("tests.bench.waits")  # it needs the models, and they the setup
        quiet, crowded = embedded.DATABASE, "crowded"
        copy(quiet, crowded)
        fill(quiet, FEW)
        fill(crowded, many)
        with product() as beside_few, product(DATABASE_URL=address("app", crowded)) as beside_many:
            servers = {quiet: beside_few.url, crowded: beside_many.url}
            figures = waits.measure(servers)
    rows = [row(name, figures[crowded][name], figures[quiet][name]) for name in figures[quiet]]
    print(report.table((f"beside {many:,} organizations", f"beside {FEW}"), rows))


def address(role: str, database: str) -> str:
    """The URL of a role in one of the two databases."""
    url: str = getattr(embedded.urls(), role)
    return url.replace(f"/{embedded.DATABASE}?", f"/{database}?")


def copy(database: str, name: str) -> None:
    """A second database like the first."""
    with psycopg.connect(embedded.urls().superuser, dbname="postgres", autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{database}"'.encode())
    embedded.provision(embedded.urls().superuser, name)


def fill(database: str, organizations: int) -> None:
    """Make organizations, each with a member, a project, two keys, an audit event and five hours of usage."""
    with psycopg.connect(address("superuser", database), autocommit=True) as server:
        server.execute(FILL.format(organizations=organizations).encode())
        server.execute("VACUUM ANALYZE")


def row(name: str, many: list[float], few: list[float]) -> report.Row:
    """One comparison: of what must be ready by the second, or of what must not grow."""
    growth = median(many) / median(few)
    target, is_met = (
        (f"≤ {READY:g} s", max(many) <= READY) if name == SIGN_UP else (f"≤ {ALLOWED:g} x", growth <= ALLOWED)
    )
    return report.Row(name, speed(many), speed(few), report.ratio(growth), target, is_met)


def speed(seconds: list[float]) -> str:
    """Median and 95th percentile."""
    return f"p50 {median(seconds) * 1000:.2f} ms, p95 {quantiles(seconds, n=20)[-1] * 1000:.2f} ms"


if __name__ == "__main__":
    main()
