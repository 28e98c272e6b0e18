"""Usage of the table before the months is carried over, and what was in no sum yet is added once."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from capsule_cloud.lib import embedded
from tests.live import ROOT
from tests.servers import with_database

NAME = f"test_carried_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
OLD_EVENTS = """
    INSERT INTO metering_usageevent
        (id, organization_id, project_id, key_id, meter, quantity, end_user, occurred_at, is_rolled_up)
    SELECT uuidv7(-(n * interval '1 day')), md5('o')::uuid, md5('p')::uuid, NULL, 'recall', n, 'ada',
        now() - n * interval '1 day', n <= 90
    FROM generate_series(1, 100) AS n;
    INSERT INTO metering_usagehour (id, organization_id, project_id, meter, hour, quantity, events)
    SELECT gen_random_uuid(), organization_id, project_id, meter, date_trunc('hour', occurred_at, 'UTC'), quantity, 1
    FROM metering_usageevent WHERE is_rolled_up;
"""


@pytest.fixture
def migrate(django_db_setup: None) -> Iterator[Callable[[str], None]]:
    """Migrates a database of its own to one of metering's migrations."""
    urls = embedded.urls()
    with psycopg.connect(urls.superuser, dbname="postgres", autocommit=True) as server:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(NAME))
        server.execute(drop)
        embedded.provision(urls.superuser, NAME)
        more = {
            "DATABASE_URL": with_database(urls.app, NAME),
            "DATABASE_MIGRATE_URL": with_database(urls.owner, NAME),
        }
        command = [sys.executable, "manage.py", "migrate", "--database", "owner", "--skip-checks", "--verbosity", "0"]

        def run(name: str) -> None:
            subprocess.run([*command, "metering", name], cwd=ROOT, env=os.environ | more, check=True, timeout=300)

        yield run
        server.execute(drop)


def test_events_move_into_their_months_and_are_summed_once(migrate: Callable[[str], None]) -> None:
    migrate("0003")
    with psycopg.connect(embedded.urls().superuser, dbname=NAME, autocommit=True) as server:
        server.execute(OLD_EVENTS)
    migrate("0005")
    with psycopg.connect(embedded.urls().superuser, dbname=NAME, autocommit=True) as server:
        [(events, months, outside)] = server.execute(
            "SELECT count(*), count(DISTINCT tableoid), "
            "count(*) FILTER (WHERE tableoid = 'metering_usageevent_rest'::regclass) FROM metering_usageevent"
        )
        position: list[tuple[int]] = [(0,)]
        until: list[tuple[int]] = [(1,)]
        while position < until:  # a transaction of another test's may be open
            server.execute("SELECT metering_roll_up(1000000)")
            position = server.execute("SELECT position FROM metering_rollupposition").fetchall()
            until = server.execute("SELECT max(written_by) + 1 FROM metering_usageevent").fetchall()
        server.execute("SELECT metering_roll_up(1000000)")
        sums = server.execute("SELECT sum(quantity), sum(events) FROM metering_usagehour").fetchall()
    assert (events, outside) == (100, 0)
    assert months >= 4
    assert sums == [(5050, 100)]
