"""`manage.py plan_catalogue`: shows the plans, writes their page, sells them at Stripe, simulates their prices."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.money import Money
from billing.plan_words import page
from billing.plans import PLANS, UnknownPlan, current
from billing.selectors.simulation import last_month, simulate
from billing.services import catalogue
from billing.stripe_client import client
from billing.stripe_events import ended_by_stripe

PAGE = Path(settings.BASE_DIR) / "docs/plans.md"


class Command(BaseCommand):
    """The catalogue is code (billing/plans.py); this is how it is looked at and published."""

    help = "Show the catalogue of plans, write its page, compare it with Stripe, or sell it there."

    def add_arguments(self, parser: CommandParser) -> None:
        """One of them at a time."""
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--write", action="store_true", help="write docs/plans.md")
        what.add_argument("--diff", action="store_true", help="compare with Stripe, or with the simulator")
        what.add_argument("--simulate", metavar="PLAN", help="price everybody's last month by this plan")
        what.add_argument("--push", action="store_true", help="make the products, prices and meters missing at Stripe")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the one."""
        if options["write"]:
            PAGE.write_text(page())
            self.stdout.write(f"{PAGE.relative_to(settings.BASE_DIR)} is written.")
        elif options["diff"]:
            self._compare()
        elif options["push"]:
            for what in catalogue.push(client()) or ["nothing: Stripe has everything"]:
                self.stdout.write(f"made {what}")
        elif options["simulate"]:
            self._simulate(options["simulate"])
        else:
            self._show()

    def _simulate(self, key: str) -> None:
        try:
            plan = current(key)
        except UnknownPlan as unknown:
            raise CommandError(str(unknown)) from None
        period = last_month()
        self.stdout.write(f"{period[0]:%B %Y} by {plan.key} version {plan.version}, without commits, credits and taxes")
        before = after = Money(0, plan.currency)
        for one in simulate(plan, period):
            caps = f"   above its {', '.join(one.above)}" if one.above else ""
            self.stdout.write(f"  {one.slug:40} {one.plan:16} {one.now} -> {one.then}{caps}")
            if one.now.currency == plan.currency:  # a contract in another currency cannot be added up with it
                before, after = before + one.now, after + one.then
        self.stdout.write(f"together in {plan.currency}: {before} -> {after}")

    def _compare(self) -> None:
        found = catalogue.differences(client())
        if ended := ended_by_stripe():
            found.append(
                f"Stripe has ended {', '.join(ended)} over a payment: set it to leave such subscriptions past due "
                "(docs/settings.md#stripe)."
            )
        if found:
            raise CommandError("\n".join(found))
        self.stdout.write("Stripe has what the catalogue says.")

    def _show(self) -> None:
        for plan in PLANS:
            self.stdout.write(f"{plan.key} version {plan.version}: {plan.name}")
            for price in plan.prices:
                above = f" above {price.included:,}" if price.allowance else ""
                self.stdout.write(f"  {price.lookup_key:28} {price.unit:f} {price.currency} minor units{above}")
