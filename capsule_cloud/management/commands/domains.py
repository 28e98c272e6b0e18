"""`manage.py domains acme.com`: shows whose a domain is, and takes it from an organization that cannot prove it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from capsule_cloud.management.staff import staff
from tenancy.errors import TenancyError
from tenancy.scope import scope
from tenancy.selectors import organization
from tenancy.sso.domains import names, selectors, services
from tenancy.sso.models import VerifiedDomain


class Command(BaseCommand):
    """For members of staff; what they take stands in the customer's audit trail, with their reason."""

    help = "Show whose a domain is; with --withdraw, take it from an organization that cannot prove it any more."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which domain, and who acts."""
        parser.add_argument("domain", metavar="DOMAIN")
        parser.add_argument("--withdraw", action="store_true", help="the organization keeps the domain as pending")
        parser.add_argument("--reason", default="", help="with --withdraw: why; the organization reads it")
        parser.add_argument("--by", metavar="EMAIL", help="the member of staff who does it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Take it if asked to, then show what there is. What is refused is a CommandError."""
        try:
            name = names.clean(options["domain"])
            holder = selectors.holder(name)
            if holder is None:
                self.stdout.write(f"{name} is nobody's.")
                return
            with scope(holder.organization_id):
                if options["withdraw"]:
                    actor = staff(options["by"])
                    services.withdraw(actor=actor, domain_id=holder.domain_id, reason=options["reason"])
                self._show(selectors.domain(holder.domain_id))
        except TenancyError as refusal:
            raise CommandError(str(refusal)) from None

    def _show(self, domain: VerifiedDomain) -> None:
        self.stdout.write(f"{domain.domain} of {organization().slug}: {domain.state}")
        for what in ("verified_at", "missing_since", "lost_at", "last_checked_at"):
            if moment := getattr(domain, what):
                self.stdout.write(f"  {what} {moment:%Y-%m-%d %H:%M}")
        self.stdout.write(f"  {domain.last_result}")
