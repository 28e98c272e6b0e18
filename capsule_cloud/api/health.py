"""Whether this process is alive, for load balancers and the engine's clients."""

from importlib.metadata import version

import orjson
from django.http import HttpRequest, HttpResponse

from capsule_cloud.api.errors import ApiError

ANSWER = orjson.dumps({"status": "ok", "version": version("capsule-memory")})


def health(request: HttpRequest) -> HttpResponse:
    """Answer at once and without a key: the process runs. `version` is the engine's, as its own server answers."""
    if request.method != "GET":
        raise ApiError("method_not_allowed", "Method Not Allowed", headers={"Allow": "GET"})
    return HttpResponse(ANSWER, content_type="application/json")


health.is_public = True  # type: ignore[attr-defined]  # the door asks no key for it
