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

from capsule_cloud.lib.embedded.places import ROOT_HOME, run_dir
from capsule_cloud.lib.processes import Child, Program, StartFailed

# Both servers refuse root or should: root runs them as `nobody`. Everybody else runs them as themselves.
SERVER_UID: int | None = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
_FAREWELL = 5.0


class CannotServe(StartFailed):
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
        self._claim: IO[str] | None = None

    @abstractmethod
    def program(self) -> Program:
        """How to run the server; its `prepare` claims the data folder."""

    def __enter__(self) -> Self:
        try:
            make_folder(self.data_dir, 0o711)
            with (self.data_dir / f"{self.name}.log").open("ab") as log:
                self.child = Child(self.program(), log)
            self.child.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.child:
            self.child.stop()
        if self._claim:
            self._claim.close()
            self._claim = None

    def prepare(self) -> tuple[int, ...]:
        """Make the folders, claim the data folder for this object, and return the lock that the server inherits.

        Raises AlreadyRunning when another process has claimed the folder.
        """
        make_folder(self.data_dir, 0o711)
        if SERVER_UID is not None:
            _open_parents(self.data_dir)
        make_folder(self.home, 0o700, SERVER_UID)
        make_folder(self.sockets, 0o700, SERVER_UID)
        if self._claim is None:
            self._claim = _claim(self.data_dir / f"{self.name}.claim", self.name)
        lock = os.open(self.data_dir / f"{self.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._see_off_the_last_one(lock)
        except BaseException:
            os.close(lock)
            raise
        return (lock,)

    @abstractmethod
    def server_pid(self) -> int | None:
        """The process id of the server that uses this data folder, if any."""

    def _see_off_the_last_one(self, lock: int) -> None:
        """Take the lock that a server and all its children hold until the last of them is gone.

        Its parent was killed, so that the kernel has told it to stop: wait for that, then tell it again, then kill it.
        Raises CannotServe when it survives even that.
        """
        for farewell in (None, signal.SIGINT, signal.SIGKILL):
            pid = self.server_pid()
            if farewell and pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, farewell)
            deadline = time.monotonic() + _FAREWELL
            while time.monotonic() < deadline:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                time.sleep(0.02)
        raise CannotServe(f"An old {self.name} still uses {self.data_dir} and cannot be stopped: end its processes.")


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
        words = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")
    except (OSError, UnicodeDecodeError):
        return []
    return words.split("\0") if words else []


def _claim(path: Path, name: str) -> IO[str]:
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


def _open_parents(path: Path) -> None:
    """Let `nobody` pass through our own folders above `path`; refuse when another folder is private."""
    for folder in path.parents:
        if folder.is_relative_to(ROOT_HOME):  # made under a strict umask, perhaps
            folder.chmod(folder.stat().st_mode | 0o011)
        elif not folder.stat().st_mode & 0o001:
            raise CannotServe(
                f"The servers run as nobody, who cannot enter {folder}: set CAPSULE_DATA_DIR to a folder"
                " that everyone can reach, for example one in /var/lib."
            )
