"""`manage.py webhook_catalogue`: writes the catalogue of webhook events into docs/webhooks.md."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from tenancy.webhooks.reference import with_catalogue

PAGE = Path(settings.BASE_DIR) / "docs/webhooks.md"


class Command(BaseCommand):
    """The catalogue is code (tenancy/webhooks/catalogue.py); this is how it becomes a page."""

    help = "Write the catalogue of webhook events into docs/webhooks.md."

    def handle(self, *args: Any, **options: Any) -> None:
        """Replace what stands between the page's marks."""
        PAGE.write_text(with_catalogue(PAGE.read_text()))
        self.stdout.write(f"{PAGE.relative_to(settings.BASE_DIR)} is written.")
