"""`manage.py dunning SLUG`: shows what an organization owes and what happens when, and agrees on other terms."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from billing.dunning_terms import DunningState, Terms
from billing.models import Dunning
from billing.money import Money
from billing.selectors.dunning import ladder, owed
from billing.services.dunning import set_terms
from capsule_cloud.management.staff import StaffCommand, staff
from tenancy.clock import here


class Command(StaffCommand):
    """See `StaffCommand`."""

    help = "Show an organization's unpaid invoices and what follows; agree on other terms."

    def add_arguments(self, parser: CommandParser) -> None:
        """The days are counted from the moment that an invoice is overdue."""
        super().add_arguments(parser)
        parser.add_argument("--reason", default="")
        parser.add_argument(
            "--terms", nargs=3, type=int, metavar=("RESTRICT", "SUSPEND", "CANCEL"), help="days; 14 28 60 for a card"
        )

    def change(self, options: dict[str, Any]) -> None:
        """Agree on other terms."""
        if options["terms"]:
            set_terms(actor=staff(options["by"]), terms=_terms(options["terms"]), reason=options["reason"])

    def show(self, options: dict[str, Any]) -> None:
        """Where the organization stands."""
        dunning, debts = Dunning.objects.first(), owed()
        self.stdout.write(dunning.state if dunning else DunningState.OK.value)
        for debt in debts:
            since = f"{debt.failed_at:%Y-%m-%d}" if debt.failed_at else ""
            self.stdout.write(f"  {debt.invoice_ref} {Money(debt.amount, debt.currency)} since {since} {debt.pay_url}")
        for step in ladder(debts, dunning):
            if step.at > here():
                self.stdout.write(f"  {step.at:%Y-%m-%d} a letter, then {step.state.value}")


def _terms(days: list[int]) -> Terms:
    try:
        return Terms(*days)
    except ValueError as error:
        raise CommandError(str(error)) from None
