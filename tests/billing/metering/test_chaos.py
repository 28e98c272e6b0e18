"""A short run of `make chaos-metering`: the servers are its own, because PostgreSQL itself is killed."""

import subprocess
import sys

from tests.live import ROOT
from tests.machines import environment, migrated_folder


def test_what_is_acknowledged_is_counted_once_whoever_is_killed() -> None:
    with migrated_folder() as folder:
        command = [sys.executable, "-m", "tests.chaos", "--kills", "8", "--folder", str(folder)]
        done = subprocess.run(
            command, check=False, cwd=ROOT, env=environment(folder), capture_output=True, text=True, timeout=900
        )
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, *_, last = done.stdout.splitlines()
    assert first.startswith("8 kill -9")
    assert {"PostgreSQL 1", "broker 1", "scheduler 1", "shipper 1", "web server 1"} <= set(
        first.split(": ")[1].split(", ")
    )
    assert second.endswith("lost 0, double 0")
    assert last == "hourly == events"
