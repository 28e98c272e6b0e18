"""System checks that refuse a wrong boot: the engine's pin, the secrets, roles and addresses that pass our walls."""

import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

ENGINE = "capsule-memory"
SHORTEST_PEPPER = 32


def engine_pin(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """oss-version.txt, requirements.lock and the installed engine must be one and the same version."""
    pin = re.fullmatch(rf"{ENGINE}==(?P<version>\S+)\s+sha256:(?P<digest>[0-9a-f]{{64}})\s*", _read("oss-version.txt"))
    if pin is None:
        return [Error("oss-version.txt is unreadable.", hint=f"Write: {ENGINE}==X.Y.Z sha256:<hash>", id="engine.E001")]
    errors: list[CheckMessage] = []
    installed = importlib.metadata.version(ENGINE)
    if installed != pin["version"]:
        hint = f"oss-version.txt pins {pin['version']}, {installed} is installed: run `make venv`."
        errors.append(Error("The installed engine is not the pinned one.", hint=hint, id="engine.E002"))
    entry = re.compile(rf"^{ENGINE}==(\S+)[^\n]*\n((?:    --hash=\S+[^\n]*\n?)+)", re.MULTILINE)
    locked = entry.search(_read("requirements.lock"))
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
            "SELECT bool_or(rolsuper OR rolbypassrls), (SELECT count(*) FROM pg_class c WHERE "
            "c.relnamespace = 'public'::regnamespace AND pg_has_role(current_user, c.relowner, 'MEMBER')) "
            "FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')"
        )
        can_bypass, owned = cursor.fetchone()
    if can_bypass or owned:
        hint = "Point DATABASE_URL at capsule_app (infra/database/roles.sql); migrations use DATABASE_MIGRATE_URL."
        return [Error("The application's database role can pass the tenant wall.", hint=hint, id="tenancy.E001")]
    return []


def secrets(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The API key pepper must be as hard to guess as the secret key, and every encryption key must be one."""
    errors: list[CheckMessage] = []
    if len(settings.API_KEY_PEPPER) < SHORTEST_PEPPER:
        errors.append(Error(f"API_KEY_PEPPER is shorter than {SHORTEST_PEPPER} characters.", id="tenancy.E002"))
    for number, key in enumerate(settings.ENCRYPTION_KEYS, start=1):
        try:
            Fernet(key)
        except ValueError:
            hint = "Make one: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
            errors.append(Error(f"Key {number} of ENCRYPTION_KEYS is no Fernet key.", hint=hint, id="tenancy.E003"))
    return errors


def stripe(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Real money moves in production alone, never beside the simulator, and every event must be verifiable."""
    key, errors = settings.STRIPE_API_KEY, list[CheckMessage]()
    if key and not re.fullmatch(r"(sk|rk)_(live|test)_\w{16,}", key):
        hint = "A secret key begins with sk_live_, sk_test_, rk_live_ or rk_test_; pk_ is the public one."
        errors.append(Error("STRIPE_SECRET_KEY is no secret key of Stripe.", hint=hint, id="billing.E001"))
    if settings.STRIPE_IS_LIVE and not settings.IS_PRODUCTION:
        hint = "Use a key that begins with sk_test_, or none: the simulator needs no key."
        errors.append(Error("STRIPE_SECRET_KEY moves real money outside production.", hint=hint, id="billing.E002"))
    if key and settings.STRIPE_SANDBOX:
        hint = "Take STRIPE_SANDBOX or STRIPE_SECRET_KEY away."
        errors.append(Error("STRIPE_SANDBOX and STRIPE_SECRET_KEY exclude each other.", hint=hint, id="billing.E003"))
    if key and not settings.STRIPE_WEBHOOK_SECRETS:
        hint = "Copy the signing secret of the endpoint /webhooks/stripe: without it no event can be trusted."
        errors.append(Error("STRIPE_WEBHOOK_SECRETS is not set.", hint=hint, id="billing.E004"))
    return errors


def egress(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """In production a customer's address never leads to our own machines."""
    if settings.IS_PRODUCTION and settings.EGRESS_LOOPBACK:
        hint = "Take EGRESS_LOOPBACK away: it lets webhooks reach what listens on this machine."
        return [Error("EGRESS_LOOPBACK is set in production.", hint=hint, id="egress.E001")]
    return []


def refuse_wrong_boot() -> None:
    """Raise ImproperlyConfigured where a check fails that needs no database: a WSGI server runs no checks by itself."""
    if errors := [*engine_pin(None), *secrets(None), *stripe(None), *egress(None)]:
        raise ImproperlyConfigured(" ".join(f"{error.msg} {error.hint or ''}" for error in errors))


def _read(name: str) -> str:
    return (Path(settings.BASE_DIR) / name).read_text()
