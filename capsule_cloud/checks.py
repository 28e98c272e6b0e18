"""System checks that refuse a wrong boot: the engine's pin, the secrets, a role that could pass the tenant wall."""

import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.db import connections

ENGINE = "capsule-memory"


def engine_pin(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """oss-version.txt, requirements.lock and the installed engine must be one and the same version."""
    pin = re.fullmatch(
        rf"{ENGINE}==(?P<version>\S+)\s+sha256:(?P<digest>[0-9a-f]{{64}})\s*", _read("oss-version.txt")
    )
    if pin is None:
        return [Error("oss-version.txt is unreadable.", hint=f"Write: {ENGINE}==X.Y.Z sha256:<hash>", id="engine.E001")]
    errors: list[CheckMessage] = []
    installed = importlib.metadata.version(ENGINE)
    if installed != pin["version"]:
        hint = f"oss-version.txt pins {pin['version']}, {installed} is installed: run `make venv`."
        errors.append(Error("The installed engine is not the pinned one.", hint=hint, id="engine.E002"))
    locked = re.search(rf"^{ENGINE}==(\S+)[^\n]*\n((?:    --hash=\S+[^\n]*\n?)+)", _read("requirements.lock"), re.M)
    if locked is None or locked[1] != pin["version"] or pin["digest"] not in locked[2]:
        hint = "Make oss-version.txt and requirements.lock name the same version and hash: run `make lock`."
        errors.append(Error("The locked engine is not the pinned one.", hint=hint, id="engine.E003"))
    return errors


def application_role(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """The application's role must be bound by row security: no superuser, no BYPASSRLS, owner of no table."""
    if not databases or "default" not in databases:
        return []
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT bool_or(rolsuper OR rolbypassrls), (SELECT count(*) FROM pg_class c WHERE c.relkind = 'r' AND "
            "c.relnamespace = 'public'::regnamespace AND pg_has_role(current_user, c.relowner, 'MEMBER')) "
            "FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')"
        )
        can_bypass, owned = cursor.fetchone()
    if can_bypass or owned:
        hint = "Point DATABASE_URL at capsule_app (infra/database/roles.sql makes it); migrations use DATABASE_MIGRATE_URL."
        return [Error("The application's database role can pass the tenant wall.", hint=hint, id="tenancy.E001")]
    return []


def secrets(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The API key pepper must be as hard to guess as the secret key."""
    if len(settings.API_KEY_PEPPER) < 32:
        return [Error("API_KEY_PEPPER is shorter than 32 characters.", id="tenancy.E002")]
    return []


def _read(name: str) -> str:
    return (Path(settings.BASE_DIR) / name).read_text()
