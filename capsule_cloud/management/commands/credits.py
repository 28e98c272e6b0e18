"""`manage.py credits SLUG`: shows an organization's credits in burn order, and grants some or takes them back."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import CommandParser

from billing.credits import selectors
from billing.credits.models import AccountKind, Category
from billing.credits.services import grant, void
from billing.money import Money
from capsule_cloud.management.staff import StaffCommand, staff
from tenancy.clock import here


class Command(StaffCommand):
    """See `StaffCommand`."""

    help = "Show an organization's credits; grant some, or take back what remains of a grant."

    def add_arguments(self, parser: CommandParser) -> None:
        """One of them at a time."""
        super().add_arguments(parser)
        parser.add_argument("--currency", default="usd")
        parser.add_argument("--reason", default="")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--grant", metavar="AMOUNT", type=int, help="in minor units (cents)")
        what.add_argument("--void", metavar="ID", type=UUID, help="take back what remains of this grant")
        parser.add_argument("--category", choices=Category.values, default=Category.ADJUSTMENT.value)
        parser.add_argument("--priority", type=int, default=50, help="0 burns first, 100 last (default 50)")
        parser.add_argument("--days", type=int, help="with --grant: until they expire; without it they do not")
        parser.add_argument("--ref", help="with --grant: a reference that makes it happen once, such as a ticket")

    def change(self, options: dict[str, Any]) -> None:
        """Grant, or take back."""
        if options["void"]:
            void(actor=staff(options["by"]), grant_id=options["void"], reason=options["reason"])
        elif options["grant"] is not None:
            days = options["days"]
            grant(
                actor=staff(options["by"]),
                amount=options["grant"],
                currency=options["currency"],
                category=options["category"],
                reason=options["reason"],
                ref=f"staff:{options['ref'] or uuid4()}",
                priority=options["priority"],
                expires_at=None if days is None else here() + timedelta(days=days),
            )

    def show(self, options: dict[str, Any]) -> None:
        """What is used next."""
        currency = options["currency"]
        now = here()
        self.stdout.write(f"{Money(selectors.balance(currency, now=now), currency)} can be burned, in this order:")
        for one in selectors.in_burn_order(currency, now):
            until = f"until {one.expires_at:%Y-%m-%d}" if one.expires_at else "for good"
            left = f"{Money(one.remaining, currency)} of {Money(one.amount, currency)}"
            self.stdout.write(f"  {one.pk} {left} {one.category} {until}, priority {one.priority}: {one.reason}")
        for kind, held in selectors.accounts(currency).items():
            self.stdout.write(f"  {AccountKind(kind).label:25} {Money(held, currency)}")
