"""Capsules as files: signed exports, checked imports."""

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse

from billing.metering.meters import Meter
from billing.metering.services import record
from billing.quotas.parking import park_import
from billing.quotas.services import QuotaReached
from capsule_cloud.api.capsules import OWNER
from capsule_cloud.api.errors import ApiError
from capsule_cloud.api.fields import Choice, Flag, Text
from capsule_cloud.api.limits import ENCRYPTION_WEIGHT
from capsule_cloud.api.operations import Call, operation, reply
from capsule_cloud.api.sessions import PARKED, parked, user_id
from capsule_cloud.api.shapes import ANYTHING, FILE, FLAG, TEXT, perhaps, shape
from capsule_cloud.memory.importing import MAX_IMPORT_BYTES
from capsule_cloud.memory.services import transfer
from tenancy.roles import Right
from tenancy.scope import scope

PASSPHRASE = "X-Passphrase"  # noqa: S105  # the header's name
PASSPHRASE_HEADER = {PASSPHRASE: "The passphrase, in UTF-8; unlike a query parameter it reaches no log on the way."}


@operation(
    "GET",
    "capsules/{capsule_id}/export",
    Right.MEMORY_READ,
    query=(
        Choice(name="format", words=tuple(transfer.ExportFormat), default="json"),
        Flag(name="encrypt", default=False, about="Encrypt the payload (json and msgpack only)."),
        Text(name="passphrase", default="", about="For the engine's clients; prefer the header."),
        OWNER,
    ),
    headers=PASSPHRASE_HEADER,
    answer=ANYTHING,
    files={"application/octet-stream": FILE, "text/plain": TEXT},
    is_way_out=True,
)
def export_capsule(call: Call, capsule_id: str) -> HttpResponse:
    """Download a capsule as a file, signed by the organization (Ed25519, over the file's bytes).

    With `encrypt` it counts as 30 requests.
    """
    passphrase = _passphrase(call) or call.query["passphrase"]
    if call.query["encrypt"]:
        call.weigh(ENCRYPTION_WEIGHT)
    with scope(call.principal.organization_id):
        file = transfer.export_capsule(
            project_id=call.project,
            capsule_id=capsule_id,
            actor=call.principal.actor,
            file_format=call.query["format"],
            encrypt=call.query["encrypt"],
            passphrase=passphrase,
            user_id=call.query["user_id"],
        )
        call.count_write(Meter.EXPORT)
    return HttpResponse(
        file.content,
        content_type=file.content_type,
        headers={
            "Content-Disposition": f"attachment; filename={file.filename}",
            "X-Capsule-Signature": file.signature.value,
            "X-Capsule-Signature-Key": file.signature.public_key,
        },
    )


@operation(
    "POST",
    "capsules/import",
    Right.MEMORY_WRITE,
    form=(
        user_id(),
        Text(name="passphrase", default=""),
        Text(name="signature", default=None, about="`X-Capsule-Signature` of our export, to have it checked."),
    ),
    headers=PASSPHRASE_HEADER,
    answer=perhaps(shape(capsule_id=TEXT, type=TEXT, title=TEXT, is_renamed=FLAG), **PARKED),
    is_parkable=True,
)
def import_capsule(call: Call) -> HttpResponse:
    """Import a capsule from a file of at most 10 MiB: `.json`, `.capsule` (msgpack) or `.txt`.

    The file's checksum is verified. An id that is another end user's is not taken over: the capsule gets a new one.
    With a passphrase it counts as 30 requests.
    """
    file = call.request.FILES.get("file")
    if not isinstance(file, UploadedFile):
        raise ApiError(
            "invalid", [{"type": "missing", "loc": ["body", "file"], "msg": "Field required", "input": None}]
        )
    if (file.size or 0) > MAX_IMPORT_BYTES:
        raise ApiError("too_large", f"the file is larger than {MAX_IMPORT_BYTES} bytes")
    passphrase = _passphrase(call) or call.body["passphrase"]
    if passphrase:
        call.weigh(ENCRYPTION_WEIGHT)
    actor, user = call.principal.actor, call.body["user_id"]
    sent = {
        "filename": file.name or "upload.json",
        "content": file.read(),
        "user_id": user,
        "passphrase": passphrase,
        "signature": call.body["signature"],
    }
    try:
        with call.metered(Meter.IMPORT, end_user=user) as use, scope(call.principal.organization_id):
            made = transfer.import_capsule(project_id=call.project, actor=actor, **sent)
            record(use)
    except QuotaReached as reached:
        kept = park_import(reached, actor=actor, **sent)
        return parked(kept, {"capsule_id": "", "type": "", "title": "", "is_renamed": False})
    return reply(
        {"capsule_id": made.capsule_id, "type": made.capsule_type, "title": made.title, "is_renamed": made.is_renamed}
    )


def _passphrase(call: Call) -> str:
    try:
        return call.request.headers.get(PASSPHRASE, "").encode("latin-1").decode()
    except UnicodeError:
        raise ApiError("bad_request", f"{PASSPHRASE} must be UTF-8") from None


OPERATIONS = (export_capsule, import_capsule)
