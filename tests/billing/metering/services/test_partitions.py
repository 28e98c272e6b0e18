"""Every month has its partition before it begins; what has none is kept, seen, and moved once it has."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.utils import timezone
from psycopg.errors import InsufficientPrivilege, UniqueViolation
from uuid_utils.compat import uuid7

from billing.metering import ids, tasks
from billing.metering.models import UsageEvent
from billing.metering.services import partitions
from tenancy.scope import scope, unscoped
from tests.factories import Tenant
from tests.raw import connect, insert, inside, sample_row


@pytest.fixture
def app(django_db_setup: None) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the application's role."""
    with connect("app") as connection:
        yield connection


def of(moment: datetime) -> UUID:
    """An id of that moment."""
    return UUID(int=ids.first(moment).int | uuid7().int & (2**80 - 1))


def put(app: psycopg.Connection[Any], tenant: Tenant, event_id: UUID) -> None:
    """Store an event with this id, past everything that would refuse it."""
    row = sample_row("metering_usageevent", "organization_id", tenant.organization.pk) | {"id": event_id}
    with inside(app, tenant.organization.pk):
        insert(app, "metering_usageevent", row)


def place(event_id: UUID) -> str:
    """The partition that holds the event."""
    with connect("superuser") as server:
        [(name,)] = server.execute(
            "SELECT tableoid::regclass::text FROM metering_usageevent WHERE id = %s", [event_id]
        ).fetchall()
    return str(name)


def test_ids_that_are_taken_and_those_of_three_months_ahead_have_a_partition(
    committed: Tenant, app: psycopg.Connection[Any]
) -> None:
    tasks.make_usage_partitions(anything="later")
    assert partitions.make_partitions() == 0, "they are made once"
    now = timezone.now()
    for days in (-ids.OLDEST.days, 0, 31, 91):
        moment = now + timedelta(days=days)
        put(app, committed, event_id := of(moment))
        assert place(event_id) == f"metering_usageevent_{moment:%Y_%m}"


@pytest.mark.parametrize("edge", [0, -1])
def test_a_month_begins_with_the_first_id_of_its_first_day_in_utc(
    edge: int, committed: Tenant, app: psycopg.Connection[Any]
) -> None:
    month = timezone.now().astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    event_id = UUID(int=ids.first(month).int + edge)
    put(app, committed, event_id)
    of_month = month if edge == 0 else month - timedelta(days=1)
    assert place(event_id) == f"metering_usageevent_{of_month:%Y_%m}"
    with connect("superuser") as server:
        server.execute("DELETE FROM metering_usageevent WHERE id = %s", [event_id])


def test_an_event_without_a_month_is_kept_and_told_and_moves_when_its_month_is_made(
    committed: Tenant, app: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    far = datetime(2150 + hash(committed.organization.pk) % 800, 5, 17, tzinfo=UTC)  # a month that no other test makes
    put(app, committed, event_id := of(far))
    assert place(event_id) == "metering_usageevent_rest"
    with caplog.at_level(logging.ERROR):
        partitions.make_partitions()
    assert "metering.outside_partitions" in caplog.text
    with unscoped(reason="a test makes a month") as wide:
        assert wide.rows("metering_make_partitions", far, far) == [{"made": 1}]
    assert place(event_id) == f"metering_usageevent_{far:%Y_%m}"
    with scope(committed.organization):
        assert UsageEvent.objects.get().pk == event_id
        assert UsageEvent.objects.filter(pk=event_id).count() == 1


def test_an_id_is_unique_whatever_the_month(committed: Tenant, app: psycopg.Connection[Any]) -> None:
    put(app, committed, event_id := uuid7())
    with pytest.raises(UniqueViolation):
        put(app, committed, event_id)


def test_the_application_reaches_no_partition_and_changes_no_event(
    committed: Tenant, app: psycopg.Connection[Any]
) -> None:
    put(app, committed, event_id := uuid7())
    for statement in (
        f"SELECT 1 FROM {place(event_id)}",
        "SELECT 1 FROM metering_usageevent_rest",
        "UPDATE metering_usageevent SET quantity = 0",
        "DELETE FROM metering_usageevent",
        "SELECT metering_purge_events(%s)",
    ):
        params = [committed.organization.pk] if "%s" in statement else []
        with pytest.raises(InsufficientPrivilege), inside(app, committed.organization.pk):
            app.execute(statement, params)


def test_a_shipper_s_staging_table_takes_rows_and_shows_none(committed: Tenant, app: psycopg.Connection[Any]) -> None:
    with app.transaction():
        app.execute("SELECT * FROM metering_stage()")
        app.execute("INSERT INTO pg_temp.metering_staged (meter) VALUES ('recall')")
        for statement in ("SELECT 1 FROM pg_temp.metering_staged", "DELETE FROM pg_temp.metering_staged"):
            with pytest.raises(InsufficientPrivilege), app.transaction():
                app.execute(statement)
        raise psycopg.Rollback
