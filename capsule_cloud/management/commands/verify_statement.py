"""`manage.py verify_statement FILE --events FILE`: computes a usage statement again, without a database."""

import base64
import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.invoicing.statement import FORMAT, Unreadable, differences, signed_bytes
from capsule_cloud.lib import crypto


class Command(BaseCommand):
    """Exits 1, and says what differs, when anything does."""

    help = "Check a usage statement's signature, hashes, sums and lines against the exported raw events."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The two files, and whose signature it must be."""
        parser.add_argument("statement", type=Path)
        parser.add_argument("--events", type=Path, required=True, help="the exported raw events, a line each")
        parser.add_argument("--public-key", help="base64; otherwise any key that signed it is good enough, and shown")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print one line when all of it holds."""
        try:
            signed = json.loads(options["statement"].read_bytes())
            statement, signature = signed["statement"], signed["signature"]
            found = self._wrong_signature(statement, signature, options["public_key"])
            with options["events"].open("rb") as lines:
                found += differences(statement, lines)
        except OSError as missing:
            raise CommandError(str(missing)) from None
        except (ValueError, KeyError, TypeError, Unreadable) as broken:
            raise CommandError(f"This is no usage statement: {broken}") from None
        if found:
            raise CommandError("\n".join(found))
        events = sum(sums["events"] for hour in statement["hours"] for sums in hour["meters"].values())
        self.stdout.write(
            f"Everything holds: {len(statement['hours'])} hours, {events} events, "
            f"signed by {signature['key_id']} with {signature['public_key']}."
        )

    def _wrong_signature(self, statement: dict[str, Any], signature: dict[str, Any], expected: str | None) -> list[str]:
        if statement["format"] != FORMAT:
            raise Unreadable(f"its format is {statement['format']}, not {FORMAT}")
        found = []
        if expected is not None and signature["public_key"] != expected:
            found.append("The statement was signed with another key.")
        public, value = (base64.b64decode(signature[name], validate=True) for name in ("public_key", "value"))
        if not crypto.verifies(public, value, signed_bytes(statement)):
            found.append("The signature is not one of this statement.")
        return found
