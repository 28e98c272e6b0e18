"""Makes one of every thing of streams that an address can name."""

from tenancy.audit.sealing.models import Leaf
from tenancy.audit.streams import services
from tenancy.audit.streams.models import DeadLetter, Stream
from tenancy.scope import scope
from tests.factories import Tenant
from tests.sealing import seal_all


def make_stream_things(tenant: Tenant) -> dict[str, str]:
    """Path parameters; called again, it makes again what was taken away."""
    with scope(tenant.organization):
        stream = Stream.objects.first()
        if stream is None:
            stream = services.create(
                actor=tenant.actor,
                name="SIEM",
                kind="https",
                options={"url": "https://siem.example.com/in"},
                secrets={},
            ).stream
        Stream.objects.update(previous_until=None, sealed_previous=None, state=Stream.State.ACTIVE)
    seal_all()
    with scope(tenant.organization):
        leaf = Leaf.objects.order_by("seq")[0]
        letter, _ = DeadLetter.objects.get_or_create(
            stream=stream,
            seq=leaf.seq,
            defaults={"event_id": leaf.event_id, "status": 400, "sentence": "Answered 400."},
        )
    return {"audit_stream_id": str(stream.pk), "dead_letter_id": str(letter.pk)}
