"""Makes one of every thing of exports and streams that an address can name."""

from pathlib import Path

from django.conf import settings
from django.utils import timezone

from capsule_cloud.lib import storage
from tenancy.audit.exports import scheduling, selectors, services, targets
from tenancy.audit.exports.models import Export, Schedule, Target
from tenancy.audit.exports.services import Wish
from tenancy.audit.exports.writing import KEPT
from tenancy.audit.search import services as views
from tenancy.audit.search.models import SavedView
from tenancy.scope import scope
from tests.capsule_cloud.web.stream_things import make_stream_things
from tests.factories import Tenant

NAME, CONTENT = "audit.jsonl", b'{"id":"one"}\n{"id":"two"}\n'


def make_audit_things(tenant: Tenant) -> dict[str, str]:
    """Path parameters; called again, it makes again what was taken away. `link` is the word that opens the file."""
    with scope(tenant.organization):
        target = Target.objects.first()
        if target is None:
            options = {"url": "https://logs.example.com/in"}
            target = targets.create(actor=tenant.actor, name="Logs", kind="https", options=options, secrets={})
        schedule = Schedule.objects.first()
        if schedule is None:
            schedule = scheduling.create(
                actor=tenant.actor, name="Daily", every="day", target_id=target.pk, wish=Wish()
            )
        export = Export.objects.first()
        if export is None:
            export = services.request(actor=tenant.actor, wish=Wish(), target_id=target.pk)
        described = {"name": NAME, "holds": "events", "bytes": len(CONTENT), "sha256": "0" * 64}
        Export.objects.filter(pk=export.pk).update(
            state=Export.State.READY,
            files=[described],
            expires_at=timezone.now() + KEPT,
            rows=2,
            ready_at=timezone.now(),
        )
        export.refresh_from_db()
        link, _ = selectors.link_to(export, NAME)
        view = SavedView.objects.first()
        if view is None:
            view = views.save(actor=tenant.actor, name="Staff", filters={"is_staff": "on"}, is_shared=True)
    store = storage.own()
    folder = Path(settings.EXPORTS_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "made").write_bytes(CONTENT)
    store.put(f"{export.folder}/{NAME}", folder / "made")
    return make_stream_things(tenant) | {
        "audit_export_id": str(export.pk),
        "audit_view_id": str(view.pk),
        "audit_target_id": str(target.pk),
        "audit_schedule_id": str(schedule.pk),
        "name": NAME,
        "link": link,
    }
