"""`manage.py reaggregate_usage`: compares an organization's hourly sums with its events, and repairs them on demand."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from billing.metering.services.sums import reaggregate
from tenancy.audit.services import Actor
from tenancy.scope import scope

OPERATOR = Actor("staff", "", "manage.py reaggregate_usage")


class Command(BaseCommand):
    """Prints a line for every hour that differs."""

    help = "Compare the hourly sums of an organization with its usage events; --repair makes them what the events say."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose hours, and from when to when."""
        parser.add_argument("--organization", required=True, help="its id")
        parser.add_argument("--since", required=True, type=_moment, help="the first hour, as 2026-01-31T00:00 (UTC)")
        parser.add_argument("--until", required=True, type=_moment, help="the first hour that is not meant")
        parser.add_argument("--repair", action="store_true", help="change the hours; without it nothing changes")

    def handle(
        self, *args: Any, organization: str, since: datetime, until: datetime, repair: bool, **options: Any
    ) -> None:
        """Compare and say so. Ends with status 1 when something differs and is not repaired."""
        with scope(organization):
            found = reaggregate(actor=OPERATOR, since=since, until=until, repair=repair)
        for one in found:
            self.stdout.write(
                f"{one.hour.astimezone(UTC):%Y-%m-%dT%H:%MZ} {one.meter} project {one.project_id} key {one.key_id}: "
                f"events {one.event_quantity} ({one.event_count}), hour {one.hour_quantity} ({one.hour_count})"
            )
        word = "repaired" if repair else "different"
        self.stdout.write(f"{len(found)} hours {word}")
        if found and not repair:
            raise SystemExit(1)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
