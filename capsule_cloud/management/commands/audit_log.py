"""`manage.py audit_log SLUG`: puts an organization's audit log under a legal hold, and erases people from it."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from capsule_cloud.management.staff import StaffCommand, staff
from tenancy.audit import people, retention
from tenancy.models import Organization


class Command(StaffCommand):
    """See `StaffCommand`."""

    help = "Hold and release an organization's audit log; find and erase what it keeps of a person."

    def add_arguments(self, parser: CommandParser) -> None:
        """One of them at a time, each with a reason."""
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--hold", action="store_true", help="keep every event, whatever the plan says")
        what.add_argument("--release", action="store_true", help="end the legal hold")
        what.add_argument("--find", metavar="TEXT", help="who is called so, or was seen from there: kind, id, what")
        what.add_argument("--erase", nargs=2, metavar=("KIND", "ID"), help="erase this person's names for ever")
        parser.add_argument("--reason", default="")

    def change(self, options: dict[str, Any]) -> None:
        """Do what was asked for."""
        reason = options["reason"]
        if options["hold"]:
            retention.hold(actor=staff(options["by"]), reason=reason)
        elif options["release"]:
            retention.release(actor=staff(options["by"]), reason=reason)
        elif options["erase"]:
            if not reason.strip():
                raise CommandError("Say why: --reason with who asked for it, and when.")
            kind, subject = options["erase"]
            erased = people.erase(kind=kind, subject_id=subject, actor=staff(options["by"]), reason=reason)
            self.stdout.write(f"erased {erased} names, addresses and programs of {kind} {subject}")

    def show(self, options: dict[str, Any]) -> None:
        """How long events are kept, and whom the text finds."""
        if options["find"]:
            for kind, subject, field, value in people.known_as(options["find"]):
                self.stdout.write(f"{kind} {subject}  {field}: {value}")
            return
        held = retention.held()
        months = Organization.objects.get().audit_retention_months
        self.stdout.write(f"held since {held.set_at:%Y-%m-%d}: {held.reason}" if held else f"kept for {months} months")
