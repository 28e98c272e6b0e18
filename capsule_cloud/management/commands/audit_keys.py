"""`manage.py audit_keys list|rotate`: the keys that sign the audit trail (docs/runbooks/audit-keys.md)."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tenancy.audit.sealing import keys
from tenancy.audit.sealing.models import SigningKey


class Command(BaseCommand):
    """Lists keys, or begins with a new one."""

    help = "List the audit trail's signing keys, or replace the one that signs."

    def add_arguments(self, parser: CommandParser) -> None:
        """What to do; of a rotation, why."""
        ways = parser.add_subparsers(dest="what", required=True)
        ways.add_parser("list", help="every key ever used")
        rotate = ways.add_parser("rotate", help="begin with a new key")
        rotate.add_argument("--overlap-days", type=int, default=keys.OVERLAP.days, help="so long both sign")
        why = rotate.add_mutually_exclusive_group()
        why.add_argument("--lost", action="store_true", help="the old key cannot be opened: it ends at once")
        why.add_argument(
            "--stolen", action="store_true", help="somebody else may have it: nothing that it signed counts"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and list the keys."""
        if options["what"] == "rotate":
            ends = SigningKey.End
            end = ends.STOLEN if options["stolen"] else ends.LOST if options["lost"] else ends.REPLACED
            keys.rotate(end=end, overlap=timedelta(days=options["overlap_days"]))
        for one in keys.published():
            until = f" until {one['ends_at']:%Y-%m-%d %H:%M}" if one["ends_at"] else ""
            self.stdout.write(f"{one['public_key']} {one['state']:8} from {one['begins_at']:%Y-%m-%d %H:%M}{until}")
