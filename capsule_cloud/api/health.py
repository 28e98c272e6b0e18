"""Whether this process is alive, for load balancers and the engine's clients."""

from importlib.metadata import version

import orjson
from django.http import HttpRequest, HttpResponse

ANSWER = orjson.dumps({"status": "ok", "version": version("capsule-memory")})


def health(request: HttpRequest) -> HttpResponse:
    """Answer at once and without a key: the process runs. `version` is the engine's, as its own server answers."""
    return HttpResponse(ANSWER, content_type="application/json")
