"""`manage.py verify_audit export|event|growth …`: the program that customers download, with our own published keys.

`manage.py verify_audit organization ID` instead computes the whole tree of one organization anew from its events.
"""

import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing import keys, selectors
from tenancy.audit.sealing.merkle import Frontier, leaf_hash
from tenancy.scope import scope

PROGRAM = Path(settings.BASE_DIR) / "docs/api/verify_audit.py"
AT_ONCE = 5_000


def program() -> ModuleType:
    """The stand-alone program: it knows nothing of us, and we run the very file that we hand out."""
    spec = importlib.util.spec_from_file_location("verify_audit", PROGRAM)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018  # it is a file of ours
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Command(BaseCommand):
    """Exits 1, and says what differs, when anything does; 2 for files that cannot be checked."""

    help = "Check an export or a proof of the audit trail, or an organization's trail in the database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """As the program's; `--keys` may be left out."""
        parser.add_argument("what", choices=["export", "event", "growth", "organization"])
        parser.add_argument("files", nargs="+")
        parser.add_argument("--kept", action="append", default=[])
        parser.add_argument("--keys", default="", help="audit-keys.json; otherwise those of this database")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, and print one line when all of it holds."""
        if options["what"] == "organization":
            for organization_id in options["files"]:
                self._check_organization(UUID(organization_id))
            return
        arguments = [options["what"], *options["files"]]
        for one in options["kept"]:
            arguments += ["--kept", one]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(options["keys"] or f"{folder}/audit-keys.json")
            if not options["keys"]:
                path.write_text(json.dumps({"keys": keys.published()}, cls=DjangoJSONEncoder))
            code = program().main([*arguments, "--keys", str(path)])
        if code:
            sys.exit(code)

    def _check_organization(self, organization_id: UUID) -> None:
        with scope(organization_id):
            found = list(wrong_trail())
            size = selectors.sealed_size()
        if found:
            raise CommandError("\n".join(found))
        self.stdout.write(f"{size} sealed events of {organization_id} hold.")


def wrong_trail() -> Iterator[str]:
    """What does not hold between events, leaves and the newest checkpoint of the organization in scope."""
    tree, size = Frontier(), selectors.sealed_size()
    for first in range(0, size, AT_ONCE):
        leaves = selectors.leaves(first, AT_ONCE)
        bodies = dict(AuditEvent.objects.filter(pk__in=[one.event_id for one in leaves]).values_list("pk", "body"))
        tree.extend([bytes(one.hash) for one in leaves])
        if [one.seq for one in leaves] != list(range(first, min(first + AT_ONCE, size))):
            yield f"The places from {first} on have a gap."
        for one in leaves:
            # events of a dropped month are gone, their leaves are not
            if one.event_id in bodies and leaf_hash(bodies[one.event_id].encode()) != bytes(one.hash):
                yield f"Event {one.event_id} at {one.seq} is not what was sealed."
    checkpoint = selectors.latest_checkpoint()
    signed = (checkpoint.size, bytes(checkpoint.root)) if checkpoint else (0, tree.root)
    if signed != (tree.size, tree.root):
        yield f"The tree of {tree.size} events is not the one that was signed."
