"""The embedded Valkey: Celery's broker and Django's cache, kept in an append-only file."""

import contextlib
import os
import signal
import socket
from pathlib import Path

from capsule_cloud.lib.embedded.binaries import valkey_server
from capsule_cloud.lib.embedded.server import SERVER_UID, Server, command_line
from capsule_cloud.lib.processes import Program


class Valkey(Server):
    """Valkey on `data_dir`; its socket is protected by the mode of the folder."""

    name = "valkey"

    @property
    def socket_path(self) -> Path:
        """The socket that clients connect to."""
        return self.sockets / "valkey.sock"

    def program(self) -> Program:
        """`valkey-server` in the foreground; at most one second of writes is lost in a power cut."""
        return Program(
            name=self.name,
            argv=(
                str(valkey_server()),
                *("--port", "0", "--unixsocket", str(self.socket_path), "--unixsocketperm", "700"),
                *("--dir", str(self.home), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--pidfile", str(self._pid_file), "--loglevel", "warning"),
            ),
            env={"PATH": os.defpath, "LC_ALL": "C"},
            cwd=Path("/"),
            uid=SERVER_UID,
            stop_signal=signal.SIGTERM,
            prepare=self.prepare,
            is_ready=self.is_ready,
        )

    def is_ready(self) -> bool:
        """Whether the server answers PING (it does not while it reads its file)."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(str(self.socket_path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        return False

    def server_pid(self) -> int | None:
        """The server of this data folder, by its pid file and command line."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if any(str(self.socket_path) in word for word in command_line(pid)) else None

    @property
    def _pid_file(self) -> Path:
        return self.home / "valkey.pid"
