"""`manage.py audit_sealer`: how the sealer of the audit trail is doing; and what to do after a restore from a dump."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from tenancy.audit.sealing import sealer, selectors


class Command(BaseCommand):
    """Exits 1 when something is not sealed that should be."""

    help = "Seal what waits, compare the trail with its seals, and say how far behind the sealer is."

    def add_arguments(self, parser: CommandParser) -> None:
        """How far back, and whether the database is a restored dump."""
        parser.add_argument("--days", type=int, default=2, help="compare the events of so many days")
        parser.add_argument("--after-restore", action="store_true", help="begin anew; nobody may write meanwhile")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and say what is so."""
        if options["after_restore"]:
            self.stdout.write(f"sealed {sealer.restart_after_restore()} events that were waiting in the dump")
        self.stdout.write(f"sealed {sealer.seal()} events")
        lag = selectors.lag()
        since = timezone.now() - timedelta(days=options["days"])
        found = sealer.reconcile(since=since)
        self.stdout.write(f"waiting {lag.events}, the oldest for {lag.seconds:.0f} s")
        self.stdout.write(f"oldest open transaction {lag.held_up_seconds:.0f} s")
        self.stdout.write(f"of {options['days']} days: {found.events} events, {found.leaves} leaves")
        for organization_id, events in selectors.set_aside(since).items():
            self.stderr.write(f"set aside {organization_id}: its tree is damaged, {events} events are not sealed")
        if not found.is_none:
            raise CommandError(f"{found.unsealed} events are not sealed, {found.gone} sealed events are gone.")
