"""`manage.py contracts SLUG`: shows an organization's contracts and open invoices; signs, ends, and marks as paid."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from billing.invoicing import services
from billing.invoicing.models import Contract, Invoice
from billing.invoicing.selectors.contracts import contracts
from billing.invoicing.selectors.standing import standing
from billing.invoicing.services import Offer
from billing.invoicing.terms import allowances_from_json
from billing.money import Money
from capsule_cloud.management.staff import StaffCommand, staff
from tenancy.errors import NotFound


class Command(StaffCommand):
    """See `StaffCommand`."""

    help = "Show an organization's contracts; sign or end one, change its seats, or note that an invoice was paid."

    def add_arguments(self, parser: CommandParser) -> None:
        """One of them at a time."""
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--sign", metavar="FILE", type=Path, help="the contract as JSON: docs/runbooks/contracts.md")
        what.add_argument(
            "--end", metavar="REFERENCE", help="end it with its month, or withdraw one that has not begun"
        )
        what.add_argument("--seats", type=int, help="so many from now on, prorated by the second")
        what.add_argument("--paid", metavar="NUMBER", help="the money of this invoice has come")
        parser.add_argument("--reason", default="", help="with --end: why; with --paid: the bank's reference")

    def change(self, options: dict[str, Any]) -> None:
        """Sign, end, change or mark as paid."""
        if options["sign"]:
            services.sign_contract(actor=staff(options["by"]), offer=_offer(options["sign"]))
        elif options["end"]:
            contract = _one(Contract.objects.filter(reference=options["end"]).first(), options["end"])
            services.end_contract(actor=staff(options["by"]), contract_id=contract.pk, reason=options["reason"])
        elif options["seats"] is not None:
            services.change_agreement(actor=staff(options["by"]), seats=options["seats"])
        elif options["paid"]:
            invoice = _one(Invoice.objects.filter(number=options["paid"]).first(), options["paid"])
            services.mark_paid(actor=staff(options["by"]), invoice_id=invoice.pk, reference=options["reason"])

    def show(self, options: dict[str, Any]) -> None:
        """Its contracts and open invoices."""
        for one in contracts():
            begun = "" if one.subscription_id else " (not begun)"
            self.stdout.write(
                f"{one.reference}{begun}: {one.plan_key} v{one.plan_version}, "
                f"{one.starts_at:%Y-%m-%d} to {one.ends_at:%Y-%m-%d}, {Money(one.fee, one.currency)} a month"
            )
        if found := standing():
            for step in found.steps:
                sums = (step.step.commit, step.used, step.true_up)
                commit, used, true_up = (Money(amount, found.contract.currency) for amount in sums)
                self.stdout.write(
                    f"  {step.step.start:%Y-%m-%d} to {step.step.end:%Y-%m-%d}: commit {commit}, used {used}, "
                    f"true-up to expect {true_up}"
                )
        for invoice in Invoice.objects.filter(source=Invoice.Source.MANUAL, state=Invoice.State.OPEN).order_by(
            "number"
        ):
            total = Money(invoice.total, invoice.currency)
            self.stdout.write(f"Open: {invoice.number}, {total}, due {invoice.due_at:%Y-%m-%d}")


def _one(found: Any, name: str) -> Any:
    if found is None:
        raise NotFound(f"There is no {name!r} here.")
    return found


def _offer(path: Path) -> Offer:
    """The contract in a file. Raises CommandError where it is none."""
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
        plain = {key: value for key, value in said.items() if key not in {"plan", "starts_at", "steps", "allowances"}}
        return Offer(
            plan_key=said["plan"],
            starts_at=datetime.fromisoformat(said["starts_at"]),
            steps=[(step["months"], step["commit"]) for step in said["steps"]],
            allowances=allowances_from_json(said.get("allowances", {})),
            **plain,
        )
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as broken:
        raise CommandError(f"This is no contract: {type(broken).__name__}: {broken}") from None
