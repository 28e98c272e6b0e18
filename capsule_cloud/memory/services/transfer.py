"""Carries capsules in and out: exports signed by the organization, imports that cannot take another's place."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from capsule_cloud.memory import entries, importing, limits
from capsule_cloud.memory.engine import Capsule as EngineCapsule
from capsule_cloud.memory.engine import CapsuleCrypto, CapsuleStatus
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.selectors.capsules import get_capsule
from capsule_cloud.memory.services.capsules import target
from capsule_cloud.memory.storage import save_capsule
from tenancy.audit import actions
from tenancy.audit.services import Actor, record
from tenancy.services.signing import ExportSignature, sign_export, verify_export
from tenancy.webhooks.catalogue import CAPSULE_CREATED, IMPORT_FINISHED
from tenancy.webhooks.events import emit

MIN_PASSPHRASE = 8  # characters; a shorter one is guessed offline


class ExportFormat(StrEnum):
    """The engine's formats. Universal and prompt are readable by anything and lose what only the engine knows."""

    JSON = "json"
    MSGPACK = "msgpack"
    UNIVERSAL = "universal"
    PROMPT = "prompt"


_KINDS = {
    ExportFormat.JSON: ("json", "application/json"),
    ExportFormat.MSGPACK: ("capsule", "application/octet-stream"),
    ExportFormat.UNIVERSAL: ("json", "application/json"),
    ExportFormat.PROMPT: ("txt", "text/plain; charset=utf-8"),
}


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """An export; `signature` is the organization's, over `content`."""

    filename: str
    content_type: str
    content: bytes
    signature: ExportSignature


@dataclass(frozen=True, slots=True)
class ImportedCapsule:
    """What an import made. `is_renamed`: the file's id was another end user's, so the capsule got a new one."""

    capsule_id: str
    capsule_type: str
    title: str
    is_renamed: bool


@dataclass(frozen=True, slots=True)
class CheckedImport:
    """A file's capsule, ready to be stored; `size` is the file's, in bytes."""

    capsule: EngineCapsule
    size: int

    def as_json(self) -> dict[str, Any]:
        """As it is kept where it must wait."""
        return {"document": self.capsule.to_json(), "size": self.size}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "CheckedImport":
        """What `as_json` made."""
        return cls(EngineCapsule.model_validate_json(kept["document"]), kept["size"])


def export_capsule(
    *,
    project_id: UUID,
    capsule_id: str,
    actor: Actor,
    file_format: str = ExportFormat.JSON,
    encrypt: bool = False,
    passphrase: str = "",
    user_id: str | None = None,
) -> ExportedFile:
    """A capsule as a signed file, its payload encrypted with the passphrase when asked for (0.3 s of computing).

    Raises CapsuleNotFound, or limits.InvalidInput: unknown format, short passphrase, a format that would stay plain.
    """
    if file_format not in set(ExportFormat):
        raise limits.InvalidInput(f"format must be one of: {', '.join(ExportFormat)}")
    wanted = ExportFormat(file_format)
    if encrypt and wanted in {ExportFormat.UNIVERSAL, ExportFormat.PROMPT}:
        raise limits.InvalidInput(f"{wanted} cannot be encrypted: choose json or msgpack")
    if encrypt and len(passphrase) < MIN_PASSPHRASE:
        raise limits.InvalidInput(f"a passphrase of at least {MIN_PASSPHRASE} characters is needed to encrypt")
    if encrypt and not limits.is_storable(passphrase):
        raise limits.InvalidInput("the passphrase must be Unicode text without NUL")
    row = get_capsule(project_id=project_id, capsule_id=capsule_id, user_id=user_id)
    content = _content(EngineCapsule.model_validate_json(row.document), wanted, passphrase if encrypt else "")
    ending, content_type = _KINDS[wanted]
    with transaction.atomic():
        record(
            action=actions.MEMORY_CAPSULE_EXPORTED,
            actor=actor,
            target=target(capsule_id, row.title),
            metadata={"format": wanted.value, "encrypted": encrypt, "user_id": row.user_id},
        )
    filename = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', capsule_id)}.{ending}"
    return ExportedFile(filename, content_type, content, sign_export(content))


def import_capsule(
    *,
    project_id: UUID,
    filename: str,
    content: bytes,
    user_id: str,
    actor: Actor,
    passphrase: str = "",
    signature: str | None = None,
) -> ImportedCapsule:
    """Store the capsule of a file for an end user. Importing one's own export again replaces the capsule.

    Raises what `check_import` does; nothing has changed then.
    """
    checked = check_import(
        filename=filename, content=content, user_id=user_id, passphrase=passphrase, signature=signature
    )
    return store_import(project_id=project_id, checked=checked, actor=actor)


def check_import(
    *, filename: str, content: bytes, user_id: str, passphrase: str = "", signature: str | None = None
) -> CheckedImport:
    """The capsule of a file, checked and decrypted, for `store_import`; whoever stores it later needs no passphrase.

    `signature`, if given, must be this organization's over exactly these bytes. Raises importing.UnreadableCapsule,
    limits.TooLarge or limits.InvalidInput.
    """
    limits.name("user_id", user_id)
    limits.text("filename", filename, max_bytes=1000)
    limits.text("passphrase", passphrase, max_bytes=1000)
    if signature is not None and not verify_export(content, signature):
        raise importing.UnreadableCapsule("the signature is not this organization's over this file")
    capsule = importing.read(filename, content, user_id=user_id, passphrase=passphrase)
    limits.title(capsule.metadata.title)
    capsule.metadata.tags = limits.tags(capsule.metadata.tags)
    capsule.lifecycle.status = CapsuleStatus.IMPORTED
    capsule.lifecycle.sealed_at = capsule.lifecycle.sealed_at or datetime.now(UTC)
    capsule.lifecycle.expires_at = None  # a date in the file is its sender's, and may have passed
    capsule.integrity.checksum = capsule.compute_checksum()
    return CheckedImport(capsule, len(content))


def store_import(*, project_id: UUID, checked: CheckedImport, actor: Actor) -> ImportedCapsule:
    """Store what `check_import` found to be a capsule; the organization is in scope."""
    capsule = checked.capsule
    with transaction.atomic():
        is_renamed = _make_unique(project_id, capsule)
        save_capsule(project_id, capsule)
        done = record(
            action=actions.MEMORY_CAPSULE_IMPORTED,
            actor=actor,
            target=target(capsule.capsule_id, capsule.metadata.title),
            metadata={"user_id": capsule.identity.user_id, "bytes": checked.size, "renamed": is_renamed},
        )
        told = {"capsule_id": capsule.capsule_id, "user_id": capsule.identity.user_id}
        made = {**told, "origin": "imported"}
        emit(CAPSULE_CREATED, data=made, key=f"made:{done.pk}", project_id=project_id)
        emit(IMPORT_FINISHED, data=told, key=f"imported:{done.pk}", project_id=project_id)
    return ImportedCapsule(capsule.capsule_id, capsule.capsule_type.value, capsule.metadata.title, is_renamed)


def _make_unique(project_id: UUID, capsule: EngineCapsule) -> bool:
    """Give the capsule a new id if another end user has this one; whether it was needed."""
    with connection.cursor() as cursor:  # two imports of one id wait for each other
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [entries.key(project_id, capsule.capsule_id)])
    others = Capsule.objects.filter(project_id=project_id, capsule_id=capsule.capsule_id)
    if not others.exclude(user_id=capsule.identity.user_id).exists():
        return False
    capsule.capsule_id = EngineCapsule.model_fields["capsule_id"].get_default(call_default_factory=True)
    return True


def _content(capsule: EngineCapsule, wanted: ExportFormat, passphrase: str) -> bytes:
    match wanted:
        case ExportFormat.UNIVERSAL:
            return json.dumps(capsule.to_universal_memory(), ensure_ascii=False, indent=2).encode()
        case ExportFormat.PROMPT:
            return capsule.to_prompt_snippet().encode()
    if passphrase:
        capsule = CapsuleCrypto.encrypt(capsule, passphrase)
    return capsule.to_msgpack() if wanted is ExportFormat.MSGPACK else capsule.to_json().encode()
