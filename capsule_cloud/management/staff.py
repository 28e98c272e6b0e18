"""What commands of staff share: one organization, who acts, a change, and then what there is."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.invoicing.selectors.invoices import organization_named
from tenancy.audit.services import Actor
from tenancy.errors import TenancyError
from tenancy.models import User
from tenancy.scope import scope


def staff(email: str | None) -> Actor:
    """The member of staff with this address, as the actor of what they do. Raises CommandError."""
    user = User.objects.filter(email=(email or "").lower(), is_staff=True, is_active=True).first()
    if user is None:
        raise CommandError("Say who does it: --by with the address of a member of staff.")
    return Actor("staff", str(user.pk), user.email)


class StaffCommand(BaseCommand):
    """For members of staff, named by their e-mail address; what they do stands in the customer's audit trail."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose organization, and who acts; a command adds what it can do."""
        parser.add_argument("organization", metavar="SLUG")
        parser.add_argument("--by", metavar="EMAIL", help="the member of staff who does it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, in the organization's scope, then show what there is. What is refused is a CommandError."""
        try:
            with scope(organization_named(options["organization"])):
                self.change(options)
                self.show(options)
        except TenancyError as refusal:
            raise CommandError(str(refusal)) from None

    def change(self, options: dict[str, Any]) -> None:
        """Do what the options ask for, if anything."""
        raise NotImplementedError

    def show(self, options: dict[str, Any]) -> None:
        """Write down what there is."""
        raise NotImplementedError
