"""The one door to the engine: the only importer of `capsule_memory`, and how its coroutines are run."""

import os
from collections.abc import Coroutine
from typing import Any, TypeVar

from capsule_memory import __version__ as version
from capsule_memory.core.builder import CapsuleBuilder
from capsule_memory.core.extractor import MemoryExtractor
from capsule_memory.core.session import SessionConfig, SessionTracker
from capsule_memory.core.skill_detector import SkillDetector
from capsule_memory.core.skill_refiner import SkillRefiner
from capsule_memory.core.store import CapsuleStore
from capsule_memory.exceptions import (
    CapsuleError,
    CapsuleIntegrityError,
    CapsuleNotFoundError,
    SessionError,
    StorageError,
    TransportError,
)
from capsule_memory.models.capsule import (
    Capsule,
    CapsuleIdentity,
    CapsuleLifecycle,
    CapsuleMetadata,
    CapsuleStatus,
    CapsuleType,
)
from capsule_memory.models.events import SkillDraft, SkillTriggerEvent, SkillTriggerRule
from capsule_memory.models.memory import ConversationTurn, MemoryFact, MemoryPayload
from capsule_memory.models.skill import SkillPayload
from capsule_memory.notifier.callback import CallbackNotifier
from capsule_memory.storage.base import BaseStorage
from capsule_memory.storage.local import LocalStorage
from capsule_memory.transport.crypto import CapsuleCrypto
from capsule_memory.transport.schema_validator import validate_capsule, validate_universal_memory, verify_checksum

Result = TypeVar("Result")

KNOWN_VERSION = "0.1.1"
KNOWN_SCHEMA = "capsule-schema/1.0+4240ea9f"
KNOWN_STORAGE_METHODS = frozenset(
    {"save", "get", "delete", "list", "search", "count", "export_capsule", "import_capsule_file"}
)
UNIVERSAL_SCHEMA = "universal-memory/1.0"


class EngineSuspended(RuntimeError):
    """An engine coroutine waited for something: it must be run by an event loop, outside our transactions."""


def drive(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run an engine coroutine that never really waits, on this thread and its database connection; 1 µs.

    `async_to_sync` costs 636 µs and forbids the ORM. Raises EngineSuspended when the coroutine waits after all.
    """
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: Result = finished.value
        return result
    coroutine.close()
    raise EngineSuspended(f"{coroutine.__qualname__} waited for an event loop.")


def problems() -> list[str]:
    """What makes the installed engine, or its environment, one that we do not know; nothing when all is well."""
    found = []
    if version != KNOWN_VERSION:
        found.append(f"The memory room knows engine {KNOWN_VERSION}, not {version}.")
    schema = Capsule.model_fields["schema_version"].get_default(call_default_factory=True)
    if schema != KNOWN_SCHEMA:
        found.append(f"The engine writes {schema}; stored capsules are {KNOWN_SCHEMA}.")
    if frozenset(BaseStorage.__abstractmethods__) != KNOWN_STORAGE_METHODS:
        found.append("The engine asks other methods of a storage than ours has.")
    if os.environ.get("CAPSULE_MOCK_EXTRACTOR") and os.environ.get("CAPSULE_ENV") != "test":
        found.append("CAPSULE_MOCK_EXTRACTOR makes the engine store invented facts: unset it.")
    return found


def _ignore(event: SkillTriggerEvent) -> None:
    """Notices of skills are read from what the engine returns, not from its notifier."""


silent_notifier = CallbackNotifier(_ignore)

__all__ = [
    "UNIVERSAL_SCHEMA",
    "BaseStorage",
    "Capsule",
    "CapsuleBuilder",
    "CapsuleCrypto",
    "CapsuleError",
    "CapsuleIdentity",
    "CapsuleIntegrityError",
    "CapsuleLifecycle",
    "CapsuleMetadata",
    "CapsuleNotFoundError",
    "CapsuleStatus",
    "CapsuleStore",
    "CapsuleType",
    "ConversationTurn",
    "EngineSuspended",
    "LocalStorage",
    "MemoryExtractor",
    "MemoryFact",
    "MemoryPayload",
    "SessionConfig",
    "SessionError",
    "SessionTracker",
    "SkillDetector",
    "SkillDraft",
    "SkillPayload",
    "SkillRefiner",
    "SkillTriggerEvent",
    "SkillTriggerRule",
    "StorageError",
    "TransportError",
    "drive",
    "problems",
    "silent_notifier",
    "validate_capsule",
    "validate_universal_memory",
    "verify_checksum",
    "version",
]
