"""`manage.py usage_statement --organization SLUG --start … --end …`: writes a usage statement and its events."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.invoicing.selectors.invoices import organization_named
from billing.invoicing.selectors.statements import exported_events, statement
from tenancy.errors import NotFound
from tenancy.scope import scope


class Command(BaseCommand):
    """What it writes, `manage.py verify_statement` checks."""

    help = "Write the signed usage statement of a period, and the raw events that it stands for."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose, which period, and where to."""
        parser.add_argument("--organization", required=True, metavar="SLUG")
        parser.add_argument("--start", required=True, type=_moment, help="the period's first moment, as the invoice's")
        parser.add_argument("--end", required=True, type=_moment, help="the first moment after it")
        parser.add_argument("--into", type=Path, default=Path())

    def handle(self, *args: Any, **options: Any) -> None:
        """Write statement.json and events.jsonl."""
        period = (options["start"], options["end"])
        if period[0] >= period[1]:
            raise CommandError("A period ends after it begins.")
        try:
            organization_id = organization_named(options["organization"])
        except NotFound as unknown:
            raise CommandError(str(unknown)) from None
        folder: Path = options["into"]
        folder.mkdir(parents=True, exist_ok=True)
        with scope(organization_id):
            signed = statement(period)
            (folder / "statement.json").write_text(json.dumps(signed.as_json(), indent=1, ensure_ascii=False))
            with (folder / "events.jsonl").open("wb") as file:
                file.writelines(exported_events(period, signed.statement["watermark"]))
        self.stdout.write(f"{folder / 'statement.json'} and {folder / 'events.jsonl'} are written.")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
