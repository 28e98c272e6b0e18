"""Reads settings from the environment; a wrong or missing one stops the boot and names its remedy."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from capsule_cloud.lib import embedded

DEVELOPMENT, TEST, PRODUCTION = "development", "test", "production"


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL address as Django wants it; `options` are libpq's own words, such as sslmode."""

    name: str
    user: str
    password: str
    host: str
    port: str
    options: dict[str, str]


def kind() -> str:
    """The kind of environment: `development`, `test` or `production` (CAPSULE_ENV).

    Raises ImproperlyConfigured for any other word.
    """
    value = os.environ.get("CAPSULE_ENV", DEVELOPMENT)
    if value not in {DEVELOPMENT, TEST, PRODUCTION}:
        raise ImproperlyConfigured(f"CAPSULE_ENV is {value!r}: set it to development, test or production.")
    return value


def text(name: str, default: str | None = None) -> str:
    """A setting as text; without a default it must be set."""
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"{name} is not set: export it (see docs/settings.md).")
    return value


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated setting as a list without blanks."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def number(name: str, default: int, least: int = 0) -> int:
    """A setting as a whole number, `least` or more."""
    value = text(name, str(default))
    if not value.isdecimal() or int(value) < least:
        raise ImproperlyConfigured(f"{name} is {value!r}: it must be a whole number, {least} or more.")
    return int(value)


def numbers(name: str, default: str) -> list[int]:
    """A comma-separated setting as whole numbers, at least one."""
    found = words(name, default)
    if not found or not all(word.isdecimal() for word in found):
        raise ImproperlyConfigured(f"{name} must be whole numbers separated by commas.")
    return [int(word) for word in found]


def choice(name: str, default: str, allowed: Collection[str]) -> str:
    """A setting that is one of a few words."""
    value = text(name, default)
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} is {value!r}: it must be {' or '.join(allowed)}.")
    return value


def address(name: str, value: str, schemes: Collection[str]) -> SplitResult:
    """Split the setting `name`, a URL with a host and one of the schemes. Raises ImproperlyConfigured."""
    try:
        parts = urlsplit(value)
        is_whole = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        is_whole = False
    if not is_whole:
        # the value stays unsaid: it may hold a password
        raise ImproperlyConfigured(f"{name} must look like {' or '.join(f'{scheme}://host' for scheme in schemes)}.")
    return parts


def hosts(name: str, port: int) -> list[tuple[str, int]]:
    """A comma-separated setting of IP addresses with ports (`9.9.9.9`, `10.0.0.2:5353`, `[2620:fe::fe]:53`).

    Raises ImproperlyConfigured for anything else: a name would have to be looked up first.
    """
    found = []
    for word in words(name):
        try:
            parts = urlsplit(f"//[{word}]" if word.count(":") > 1 and "[" not in word else f"//{word}")
            host = "" if parts.path or parts.query else parts.hostname or ""
            found.append((str(ip_address(host)), port if parts.port is None else parts.port))
        except ValueError:
            raise ImproperlyConfigured(f"{name} must be IP addresses separated by commas, not {word!r}.") from None
    return found


def secret(name: str) -> str:
    """A secret: from the environment, or in development generated once and kept in the data folder."""
    if name not in os.environ and kind() != PRODUCTION:
        return embedded.secret(name)
    if not (value := text(name)):
        raise ImproperlyConfigured(f"{name} is set but empty.")
    return value


def database(url: str) -> Database:
    """Split `postgresql://user:password@host:port/name?sslmode=require` (a socket folder goes in `?host=/path`).

    Raises ImproperlyConfigured when the URL is not PostgreSQL's or names no database.
    """
    parts = urlsplit(url)
    name = parts.path.lstrip("/")
    try:
        port = parts.port
    except ValueError:
        name = ""
    if parts.scheme not in {"postgres", "postgresql"} or not name:
        raise ImproperlyConfigured("A database's URL must look like postgresql://user:password@host:5432/name.")
    query = dict(parse_qsl(parts.query))
    return Database(
        name=unquote(name),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host=query.pop("host", "") or unquote(parts.hostname or ""),
        port=str(port or query.pop("port", "")),
        options=query,
    )


def database_url() -> str:
    """The application's own connection, as a role that owns nothing (DATABASE_URL)."""
    return os.environ.get("DATABASE_URL") or _embedded_or_stop("DATABASE_URL").app


def database_migrate_url() -> str | None:
    """The owner's connection, for migrations alone (DATABASE_MIGRATE_URL); None where this process has none."""
    if url := os.environ.get("DATABASE_MIGRATE_URL"):
        return url
    return None if "DATABASE_URL" in os.environ else _embedded_or_stop("DATABASE_MIGRATE_URL").owner


def broker_url() -> str:
    """The Celery broker (BROKER_URL): redis:// or redis+socket://."""
    return os.environ.get("BROKER_URL") or _embedded_or_stop("BROKER_URL").broker


def cache_url() -> str:
    """The cache and rate-limit server (CACHE_URL): redis:// or unix://."""
    return os.environ.get("CACHE_URL") or _embedded_or_stop("CACHE_URL").cache


def _embedded_or_stop(name: str) -> embedded.EmbeddedUrls:
    if kind() == PRODUCTION:
        raise ImproperlyConfigured(f"{name} is not set: production needs real servers (see docs/settings.md).")
    return embedded.urls()
