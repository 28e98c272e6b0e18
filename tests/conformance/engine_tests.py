"""Fetches the engine's own test-suite, which only its source distribution has, into a cache outside the repository."""

import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

VERSION = "0.1.1"
SHA256 = "0b5a16eb0511dd75dce2f6e07bc8fb5045640dad051a3b3fba46bae0dbe8820e"


def folder() -> Path:
    """The unpacked source distribution; downloaded once, checked against SHA256 each time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "capsule-memory-cloud"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of one test run ask at the same time
        archive = cache / f"capsule_memory-{VERSION}.tar.gz"
        if not archive.exists():
            _download(cache)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != SHA256:
            archive.unlink()
            raise RuntimeError(f"{archive.name} has the hash {digest}, not the pinned one.")
        unpacked = cache / f"capsule_memory-{VERSION}"
        if not unpacked.exists():
            with tarfile.open(archive) as tar:
                tar.extractall(cache, filter="data")
    return unpacked


def _download(cache: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "capsule-memory", f"capsule-memory=={VERSION}", "--dest", str(cache)]
    subprocess.run(command, check=True)
