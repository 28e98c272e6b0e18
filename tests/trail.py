"""The audit trail as tests ask for it."""

from tenancy.audit import people
from tenancy.audit.models import AuditEvent


def audited(action: str = "", *, actor: str = "", target: str = "") -> list[AuditEvent]:
    """Events of the organization in scope, oldest first.

    Of actions that begin with `action`, by actors of the kind `actor`, on what has `target` as its id or label.
    """
    return [
        event
        for event in people.reveal(AuditEvent.objects.filter(action__startswith=action).order_by("id"))
        if actor in ("", event.actor["kind"]) and target in ("", event.target["id"], event.target["label"])
    ]
