"""Shows a new secret on exactly one page: until then it waits in the session, sealed.

A reload makes no second secret, and shows none again.
"""

from uuid import UUID

from django.http import HttpRequest

from capsule_cloud.lib import crypto


def keep(request: HttpRequest, name: str, thing_id: UUID, secret: str) -> None:
    """Let the secret of a new thing wait under `name`, instead of any other there."""
    request.session[name] = {"of": str(thing_id), "sealed": crypto.seal(secret.encode()).decode()}


def take(request: HttpRequest, name: str, thing_id: UUID) -> str:
    """The secret that waits for this thing; "" if none does. Nothing waits any more."""
    once = request.session.pop(name, None)
    return crypto.unseal(once["sealed"].encode()).decode() if once and once["of"] == str(thing_id) else ""
