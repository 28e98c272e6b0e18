"""`manage.py verify_statement FILE --events FILE`: the program that customers download, with our arguments."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

PROGRAM = Path(settings.BASE_DIR) / "docs/api/verify_statement.py"


def program() -> ModuleType:
    """The stand-alone program: it knows nothing of us, and we run the very file that we hand out."""
    spec = importlib.util.spec_from_file_location("verify_statement", PROGRAM)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018  # it is a file of ours
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Command(BaseCommand):
    """Exits 1, and says what differs, when anything does."""

    help = "Check a usage statement's signature, hashes, sums and lines against the exported raw events."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """The two files, and whose signature it must be."""
        parser.add_argument("statement", type=Path)
        parser.add_argument("--events", type=Path, required=True, help="the exported raw events, a line each")
        parser.add_argument("--public-key", default="", help="base64; otherwise any key that signed it is good enough")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print one line when all of it holds."""
        verifier = program()
        try:
            found, said = verifier.check(options["statement"], options["events"], options["public_key"])
        except (verifier.Unreadable, OSError) as broken:
            raise CommandError(str(broken)) from None
        if found:
            raise CommandError("\n".join(found))
        self.stdout.write(said)
