"""`manage.py replay_stripe_events`: deal with Stripe's events again, one or all that were given up."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.selectors import inbox as found
from billing.services import inbox


class Command(BaseCommand):
    """Puts events back into the inbox; the job workers take them within seconds."""

    help = "Put Stripe's events back into the inbox: those named, or all that were given up."

    def add_arguments(self, parser: CommandParser) -> None:
        """Ids of events, or `--dead`."""
        parser.add_argument("event", nargs="*", help="ids such as evt_…")
        parser.add_argument("--dead", action="store_true", help="every event that was given up")

    def handle(self, *args: Any, event: list[str], dead: bool, **options: Any) -> None:
        """Start them again, or say what there is. Raises CommandError for an unknown event."""
        for event_id in event:
            if not inbox.replay(event_id):
                raise CommandError(f"There is no event {event_id}.")
        count = len(event) + (inbox.replay_dead() if dead else 0)
        state = found.state()
        self.stdout.write(f"{count} started again; {state.waiting} wait, {state.dead} are given up.")
