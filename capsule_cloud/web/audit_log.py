"""What everybody may have for checking audit trails: the keys, the log of all checkpoints, and the program."""

from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from tenancy.audit.sealing import keys, notes, sealer, selectors

PROGRAM = Path(settings.BASE_DIR) / "docs/api/verify_audit.py"


@require_safe
def verifier(request: HttpRequest) -> HttpResponse:
    """The program, the very file that is in the repository."""
    answer = HttpResponse(PROGRAM.read_bytes(), content_type="text/x-python; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="verify_audit.py"'
    return answer


@require_safe
def published_keys(request: HttpRequest) -> HttpResponse:
    """Every key that ever signed a checkpoint, at an address that stays."""
    return JsonResponse({"keys": keys.published()}, json_dumps_params={"indent": 1})


@require_safe
def checkpoint(request: HttpRequest) -> HttpResponse:
    """The checkpoint of the log of all organizations' checkpoints."""
    return HttpResponse(sealer.log_checkpoint(), content_type="text/plain; charset=utf-8")


@require_safe
def consistency(request: HttpRequest) -> HttpResponse:
    """That this log has only grown: from `?from=`, the size of a checkpoint of it, up to now."""
    text = request.GET.get("from", "0")
    old = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
    head = selectors.log_head()
    try:
        hashes = selectors.log_consistency(old, head.size)
    except selectors.NotSealed as error:
        return JsonResponse({"detail": f"from: {error}"}, status=404)
    shown = [notes.encoded(one) for one in hashes]
    return JsonResponse({"from": old, "to": head.size, "checkpoint": sealer.log_checkpoint(), "hashes": shown})
