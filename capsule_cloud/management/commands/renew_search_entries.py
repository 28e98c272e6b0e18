"""`manage.py renew_search_entries`: makes an earlier release's search entries anew, as the job does by and by."""

from typing import Any

from django.core.management.base import BaseCommand

from capsule_cloud.memory.services import search_entries


class Command(BaseCommand):
    """Prints how many are done, until none is left. It may be stopped at any time, and several may run at once."""

    help = "Make anew the search entries that another embedding model, or another way to read text, has made."

    def handle(self, *args: Any, **options: Any) -> None:
        """Batch by batch, each a transaction of its own."""
        total = 0
        while done := search_entries.renew():
            total += done
            self.stdout.write(f"{total} …")
            self.stdout.flush()
        self.stdout.write(f"{total} search entries made anew; none is left.")
