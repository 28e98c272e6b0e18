"""Pytest plugin for the engine's tests: their file storage becomes ours, with a project of its own for every path.

It runs beside the engine's package `tests`, so it cannot use ours.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import capsule_memory.api
import capsule_memory.storage
import capsule_memory.storage.local
import django
from capsule_memory.models.capsule import Capsule
from django.db import connection

django.setup()

from capsule_cloud.memory.storage import TenantStorage  # noqa: E402  # Django comes first
from tenancy.models import Project, User  # noqa: E402
from tenancy.scope import scope  # noqa: E402
from tenancy.services import organizations  # noqa: E402

_owner = User.objects.create_user(f"{uuid4().hex}@example.com")
ORGANIZATION = organizations.create(user=_owner, name=f"Engine {uuid4().hex[:12]}")


@contextmanager
def _ours() -> Iterator[None]:
    """Work in the scope; a thread of the engine's test client leaves no connection behind."""
    with scope(ORGANIZATION):
        yield
    if threading.current_thread() is not threading.main_thread():
        connection.close()


@cache
def _project(path: str) -> UUID:
    with _ours():
        project: Project = Project.objects.create(name=path[-120:], slug=f"path-{abs(hash(path))}")
    return project.pk


class ConformingStorage(TenantStorage):
    """Ours behind the constructor of the engine's file storage; each call is a request of its own."""

    def __init__(self, path: str | Path = "~/.capsules", format: str = "json") -> None:  # noqa: A002  # theirs
        super().__init__(_project(str(Path(path).expanduser().resolve())))

    async def save(self, capsule: Capsule) -> str:
        """As ours."""
        with _ours():
            return await super().save(capsule)

    async def get(self, capsule_id: str) -> Capsule | None:
        """As ours."""
        with _ours():
            return await super().get(capsule_id)

    async def delete(self, capsule_id: str) -> bool:
        """As ours."""
        with _ours():
            return await super().delete(capsule_id)

    async def list(self, *args: Any, **kwargs: Any) -> list[Capsule]:  # type: ignore[override, unused-ignore]
        """As ours."""
        with _ours():
            return await super().list(*args, **kwargs)

    async def search(self, *args: Any, **kwargs: Any) -> "list[tuple[Capsule, float]]":  # type: ignore[valid-type]
        """As ours."""
        with _ours():
            return await super().search(*args, **kwargs)

    async def count(self, user_id: str | None = None) -> int:
        """As ours."""
        with _ours():
            return await super().count(user_id)


for module in (capsule_memory.storage.local, capsule_memory.storage, capsule_memory.api):
    module.LocalStorage = ConformingStorage  # type: ignore[attr-defined]
