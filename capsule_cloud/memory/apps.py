"""Registers the room with Django, and refuses an engine that is not the one we know."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from capsule_cloud.memory import engine


class MemoryConfig(AppConfig):
    """The memory room."""

    name = "capsule_cloud.memory"
    label = "memory"
    verbose_name = "Memory"

    def ready(self) -> None:
        """Check the engine at every boot."""
        register(engine_is_known)


def engine_is_known(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The installed engine must have the shape that our storage implements, and must not make up facts."""
    return [Error(problem, id="memory.E001") for problem in engine.problems()]
