"""Makes trails and exports for tests, reads their files back, and has the customers' program check them."""

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tenancy.audit import actions
from tenancy.audit.exports import selectors, services, turns, writing
from tenancy.audit.exports.models import Export
from tenancy.audit.exports.services import Wish
from tenancy.audit.models import AuditEvent
from tenancy.audit.sealing import keys
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.services import Actor, Target, record
from tenancy.scope import scope
from tests.factories import Tenant
from tests.sealing import seal_all

verifier = SimpleNamespace(**runpy.run_path("docs/api/verify_audit.py"))
STRANGE = ['=HYPERLINK("http://x")', "line\nbreak", "a,b", 'quo"te', "\x02\x01", "Zoë 日本語", "-1", ""]


def make_trail(tenant: Tenant, count: int = 50, *, starts: int = 0) -> list[str]:
    """So many events with strange words in them, sealed; returns all bodies of the organization, in seal order."""
    with scope(tenant.organization):
        for number in range(starts, starts + count):
            strange = STRANGE[number % len(STRANGE)]
            record(
                action=actions.PROJECT_UPDATED if number % 2 else actions.PROJECT_CREATED,
                actor=Actor("api_key", f"{strange}{number % 3}", strange or "Key"),
                target=Target("project", f"{strange}{number}", strange),
            )
    seal_all()
    return bodies(tenant)


def bodies(tenant: Tenant) -> list[str]:
    """All sealed bodies in their order."""
    with scope(tenant.organization):
        places = {one.event_id: one.seq for one in Leaf.objects.all()}
        events = [event for event in AuditEvent.objects.all() if event.pk in places]
    return [event.body for event in sorted(events, key=lambda event: places[event.pk])]


def ask(tenant: Tenant, wish: Wish | None = None, **asked: Any) -> Export:
    """Ask for an export."""
    with scope(tenant.organization):
        return services.request(actor=tenant.actor, wish=wish or Wish(), **asked)


def fresh(tenant: Tenant, export: Export) -> Export:
    """As it is now."""
    with scope(tenant.organization):
        return selectors.export(export.pk)


def write(tenant: Tenant, wish: Wish | None = None, **asked: Any) -> Export:
    """Ask for one and have it written."""
    made = ask(tenant, wish, **asked)
    while turn := turns.claim():
        writing.attend(turn)
    return fresh(tenant, made)


def folder_of(export: Export, exports_dir: Path) -> Path:
    """Where its files are."""
    return exports_dir / "kept" / export.folder


def file_of(export: Export, exports_dir: Path, holds: str = "events") -> Path:
    """One of its files."""
    [name] = [one["name"] for one in export.files if one["holds"] == holds]
    return folder_of(export, exports_dir) / str(name)


def wrongs(export: Export, exports_dir: Path) -> Sequence[str]:
    """What the customers' program says is wrong with an export."""
    folder = folder_of(export, exports_dir)
    published = folder / "audit-keys.json"
    published.write_text(json.dumps({"keys": keys.published()}, default=str))
    options = verifier.parser().parse_args(
        ["export", str(file_of(export, exports_dir, "manifest")), "--keys", str(published)]
    )
    found, _ = verifier.check(options)
    return list(found)
