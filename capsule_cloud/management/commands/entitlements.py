"""`manage.py entitlements SLUG`: shows what an organization may use, and grants, approves or ends overrides."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from billing.models import EntitlementOverride
from billing.selectors.entitlements import effective, override_history
from billing.services import entitlements
from capsule_cloud.management.staff import StaffCommand, staff
from tenancy.clock import here


class Command(StaffCommand):
    """See `StaffCommand`."""

    help = "Show an organization's entitlements; grant, approve or end an override."

    def add_arguments(self, parser: CommandParser) -> None:
        """One of them at a time."""
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--grant", metavar="KEY=VALUE", help="a limit, feature:…, included:… or overage:…; JSON")
        what.add_argument(
            "--approve", metavar="ID", type=UUID, help="let an override hold that somebody else asked for"
        )
        what.add_argument("--end", metavar="ID", type=UUID, help="end an override, or refuse one that waits")
        parser.add_argument("--reason", default="", help="with --grant")
        parser.add_argument("--days", type=int, default=30, help="with --grant: until it expires (default 30)")

    def change(self, options: dict[str, Any]) -> None:
        """Grant, approve or end an override."""
        if options["approve"]:
            entitlements.approve_override(actor=staff(options["by"]), override_id=options["approve"])
        elif options["end"]:
            entitlements.end_override(actor=staff(options["by"]), override_id=options["end"])
        elif options["grant"]:
            key, _, text = options["grant"].partition("=")
            entitlements.grant_override(
                actor=staff(options["by"]),
                key=key,
                value=_value(text),
                reason=options["reason"],
                expires_at=here() + timedelta(days=options["days"]),
            )

    def show(self, options: dict[str, Any]) -> None:
        """What holds."""
        found = effective()
        self.stdout.write(f"{found.plan.key} version {found.plan.version} ({found.source})")
        for name, value in sorted(found.columns.items()):
            usual = found.base[name]
            note = "" if value == usual else f"   instead of {_words(usual)}"
            self.stdout.write(f"  {name:20} {_words(value)}{note}")
        for one in override_history():
            self.stdout.write(f"  {one.pk} {one.key}={json.dumps(one.value)} {_state(one)}: {one.reason}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise CommandError("A value is JSON: a number, true, false, null, or a rate in quotation marks.") from None


def _words(value: Any) -> str:
    return "none" if value is None else ", ".join(value) if isinstance(value, list) else str(value)


def _state(one: EntitlementOverride) -> str:
    if one.ended_at is not None:
        return f"ended by {one.ended_by}"
    if one.holds_from is None:
        return f"asked by {one.author}, waits for approval"
    return f"by {one.author}{f' and {one.approver}' if one.approver else ''} until {one.expires_at:%Y-%m-%d}"
