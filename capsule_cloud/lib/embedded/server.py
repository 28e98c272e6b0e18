"""What the embedded servers have in common: one at a time per data folder, clean after any crash, unprivileged."""

import contextlib
import fcntl
import os
import pwd
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Self

from capsule_cloud.lib.embedded.places import run_dir
from capsule_cloud.lib.processes import Child, Program

# Both servers refuse root or should: root runs them as `nobody`. Everybody else runs them as themselves.
SERVER_UID: int | None = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
_FAREWELL = 15.0


class CannotServe(RuntimeError):
    """An embedded server cannot be started here; the message names the remedy."""


class AlreadyRunning(CannotServe):
    """Another process runs the server of this data folder."""


class Server(ABC):
    """An embedded server; a context manager that starts and stops it, or `program()` for a process manager."""

    name: str

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.home = self.data_dir / self.name
        self.sockets = run_dir(self.data_dir)
        self.child: Child | None = None
        self._lock: IO[str] | None = None

    @abstractmethod
    def program(self) -> Program:
        """How to run the server; its `prepare` takes the data folder's lock."""

    def __enter__(self) -> Self:
        program = self.program()
        make_folder(self.data_dir, 0o711)
        with (self.data_dir / f"{self.name}.log").open("ab") as log:
            self.child = Child(program, log)
        try:
            self.child.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the server if this object started it, and let others use the data folder."""
        if self.child:
            self.child.stop()
        self.release()

    def release(self) -> None:
        """Give up the lock of the data folder (the kernel does the same when we die)."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def prepare(self) -> None:
        """Make the folders, take the lock, and see the last of a server whose parent was killed.

        Raises AlreadyRunning when another process holds the lock.
        """
        make_folder(self.data_dir, 0o711)
        if SERVER_UID is not None:
            _refuse_private_parents(self.data_dir)
        make_folder(self.home, 0o700, SERVER_UID)
        make_folder(self.sockets, 0o700, SERVER_UID)
        if self._lock is None:
            self._lock = _take_lock(self.data_dir / f"{self.name}.lock", self.name)
        self.see_off(self.leftover())

    @abstractmethod
    def leftover(self) -> int | None:
        """The process id of a server that still uses this data folder, if any."""

    def see_off(self, pid: int | None) -> None:
        """Wait for an orphaned server to end by itself (the kernel told it to), then tell it again, then kill it."""
        for farewell in (None, signal.SIGINT, signal.SIGKILL):
            if pid is None:
                return
            if farewell:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, farewell)
            deadline = time.monotonic() + _FAREWELL / 3
            while self.leftover() == pid and time.monotonic() < deadline:
                time.sleep(0.05)
            pid = self.leftover()


def make_folder(path: Path, mode: int, uid: int | None = None) -> None:
    """Create `path` with exactly this mode and owner.

    Raises CannotServe when it belongs to someone else (a shared /tmp).
    """
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    wanted = os.geteuid() if uid is None else uid
    if path.lstat().st_uid not in {wanted, os.geteuid()} or path.is_symlink():
        raise CannotServe(f"{path} belongs to another user: set CAPSULE_DATA_DIR to a folder of your own.")
    if path.lstat().st_uid != wanted:
        os.chown(path, wanted, wanted)
    path.chmod(mode)


def command_line(pid: int) -> list[str]:
    """The words with which process `pid` was started; empty when there is none, or it is a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    except (OSError, UnicodeDecodeError):
        return []


def _take_lock(path: Path, name: str) -> IO[str]:
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise AlreadyRunning(
            f"{name} of {path.parent} is already run by process {holder}: stop that one, or set CAPSULE_DATA_DIR."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _refuse_private_parents(path: Path) -> None:
    for folder in path.parents:
        if not folder.stat().st_mode & 0o001:
            raise CannotServe(
                f"The servers run as nobody, who cannot enter {folder}: set CAPSULE_DATA_DIR to a folder"
                " that everyone can reach, for example one in /var/lib."
            )
