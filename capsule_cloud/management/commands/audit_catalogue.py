"""`manage.py audit_catalogue`: writes the catalogue of audited actions into docs/audit.md and docs/api."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from tenancy.audit.reference import as_json, with_catalogue

PAGE = Path(settings.BASE_DIR) / "docs/audit.md"
SCHEMAS = Path(settings.BASE_DIR) / "docs/api/audit_actions.json"


class Command(BaseCommand):
    """The catalogue is code (tenancy/audit/catalogue/); this is how it becomes a page and a file of JSON Schemas."""

    help = "Write the catalogue of audited actions into docs/audit.md and docs/api/audit_actions.json."

    def handle(self, *args: Any, **options: Any) -> None:
        """Replace what stands between the page's marks, and the file."""
        PAGE.write_text(with_catalogue(PAGE.read_text()))
        SCHEMAS.write_text(as_json())
        for path in (PAGE, SCHEMAS):
            self.stdout.write(f"{path.relative_to(settings.BASE_DIR)} is written.")
