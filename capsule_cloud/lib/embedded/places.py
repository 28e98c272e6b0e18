"""Where the embedded servers keep their data, their sockets and their passwords; pure, starts nothing."""

import base64
import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

REPOSITORY = Path(__file__).resolve().parents[3]
ROOT_HOME = Path("/var/lib/capsule-cloud")
DATABASE = "capsule"
SUPERUSER, OWNER_ROLE, APP_ROLE = "postgres", "capsule_owner", "capsule_app"
_SOCKET_PATH_LIMIT = 107  # bytes in sockaddr_un.sun_path, less the final NUL
_LONGEST_SOCKET_NAME = "/.s.PGSQL.5432.lock"


@dataclass(frozen=True, slots=True)
class EmbeddedUrls:
    """Addresses of the embedded servers: three roles of one database, Celery's broker, Django's cache."""

    app: str
    owner: str
    superuser: str
    broker: str
    cache: str


def data_dir() -> Path:
    """The folder of everything that development keeps: CAPSULE_DATA_DIR, or one for this clone.

    As root the servers run as `nobody`, who can rarely read inside a clone, so that the folder is in /var/lib then.
    """
    if chosen := os.environ.get("CAPSULE_DATA_DIR"):
        return Path(chosen).resolve()
    if os.geteuid() == 0:
        return ROOT_HOME / _short_hash(REPOSITORY)
    return REPOSITORY / ".capsule"


def run_dir(folder: Path) -> Path:
    """Where the sockets of the servers in `folder` are: inside it, or in a short path when that is too long."""
    inside = folder / "run"
    if len(os.fsencode(f"{inside}{_LONGEST_SOCKET_NAME}")) <= _SOCKET_PATH_LIMIT:
        return inside
    return Path("/tmp") / f"capsule-{os.geteuid()}-{_short_hash(folder)}"  # noqa: S108  its owner is checked at start


def urls(folder: Path | None = None) -> EmbeddedUrls:
    """The addresses of the servers that keep their data in `folder` (default: `data_dir()`)."""
    folder = folder or data_dir()
    sockets = run_dir(folder)
    return EmbeddedUrls(
        app=_postgres_url(APP_ROLE, folder, sockets),
        owner=_postgres_url(OWNER_ROLE, folder, sockets),
        superuser=_postgres_url(SUPERUSER, folder, sockets),
        broker=f"redis+socket://{sockets}/valkey.sock?virtual_host=0",
        cache=f"unix://{sockets}/valkey.sock?db=1",
    )


def secret(name: str, folder: Path | None = None) -> str:
    """A secret of 32 random bytes (URL-safe base64, so also a Fernet key), made at first use and kept in `folder`."""
    folder = folder or data_dir()
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    path = folder / "secrets.json"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two processes must not each make the same secret
        kept: dict[str, str] = json.loads(file.read() or "{}")
        if name not in kept:
            kept[name] = base64.urlsafe_b64encode(os.urandom(32)).decode()
            file.seek(0)
            file.write(json.dumps(kept, indent=1))
            file.flush()
            os.fsync(file.fileno())
        return kept[name]


def _postgres_url(role: str, folder: Path, sockets: Path) -> str:
    # The socket folder is in the query, because URL parsers write host names in lower case.
    password = quote(secret(f"password of {role}", folder), safe="")
    return f"postgresql://{role}:{password}@/{DATABASE}?{urlencode({'host': str(sockets)})}"


def _short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
