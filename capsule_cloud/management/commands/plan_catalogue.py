"""`manage.py plan_catalogue`: shows the plans, writes their page."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from billing.plan_words import page
from billing.plans import PLANS

PAGE = Path(settings.BASE_DIR) / "docs/plans.md"


class Command(BaseCommand):
    """The catalogue is code (billing/plans.py); this is how it is looked at and published."""

    help = "Show the catalogue of plans, or write its page."

    def add_arguments(self, parser: CommandParser) -> None:
        """One of them at a time."""
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--write", action="store_true", help="write docs/plans.md")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the one."""
        if options["write"]:
            PAGE.write_text(page())
            self.stdout.write(f"{PAGE.relative_to(settings.BASE_DIR)} is written.")
        else:
            self._show()

    def _show(self) -> None:
        for plan in PLANS:
            self.stdout.write(f"{plan.key} version {plan.version}: {plan.name}")
            for price in plan.prices:
                above = f" above {price.included:,}" if price.allowance else ""
                self.stdout.write(f"  {price.lookup_key:28} {price.unit:f} {price.currency} minor units{above}")
