"""Exports in a folder of the test's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from capsule_cloud.lib import storage
from tests.raw import connect


@pytest.fixture(autouse=True)
def _nothing_is_scheduled(django_db_setup: None) -> None:
    """Pause what other tests left."""
    with connect("superuser") as server:
        server.execute("UPDATE audit_exports_schedule SET is_paused = true")


@pytest.fixture(autouse=True)
def exports_dir(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """Where exports are written and kept."""
    settings.EXPORTS_DIR, settings.EXPORTS_BUCKET = str(tmp_path / "exports"), ""
    storage.own.cache_clear()
    yield tmp_path / "exports"
    storage.own.cache_clear()
