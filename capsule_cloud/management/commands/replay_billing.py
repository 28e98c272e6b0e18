"""`manage.py replay_billing --period 2026-10`: rebuilds a month from raw events and prints the difference."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.invoicing.selectors.invoices import organization_named
from billing.invoicing.selectors.replaying import invoiced_between, replay
from billing.money import month_after
from tenancy.errors import NotFound
from tenancy.scope import scope


class Command(BaseCommand):
    """Exits 1 when anything differs. It changes nothing."""

    help = "Rebuild the invoices of periods that begin in a month from raw events, and print what differs."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which month, and whose."""
        parser.add_argument("--period", required=True, type=_month, metavar="2026-10", help="a calendar month in UTC")
        parser.add_argument("--organization", metavar="SLUG", help="one organization instead of all")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each difference, then how many invoices were rebuilt."""
        since: datetime = options["period"]
        until = month_after(since, 1)
        try:
            slug = options["organization"]
            organizations = [organization_named(slug)] if slug else invoiced_between(since, until)
        except NotFound as unknown:
            raise CommandError(str(unknown)) from None
        rebuilt, wrong = 0, 0
        for organization_id in organizations:
            with scope(organization_id):
                for one in replay(since, until):
                    rebuilt += 1
                    wrong += len(one.differences)
                    for difference in one.differences:
                        name = one.invoice.number or f"use from {one.invoice.period_start:%Y-%m-%d}"
                        self.stdout.write(f"{organization_id} {name}: {difference}")
        if wrong:
            raise CommandError(f"{rebuilt} invoices rebuilt, {wrong} differences.")
        self.stdout.write(f"{rebuilt} invoices rebuilt, difference 0.")


def _month(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
