"""A short run of `make chaos-audit`: the servers are its own, because PostgreSQL itself is killed."""

import subprocess
import sys

import pytest

from tests.live import ROOT
from tests.machines import environment, migrated_folder

# The web server, jobs and broker die in the short run of the metering
VICTIMS = ("PostgreSQL", "PostgreSQL, immediate", "exporter", "scheduler", "sealer")


@pytest.mark.timeout(900)
def test_what_is_acknowledged_is_sealed_once_and_in_every_export_whoever_is_killed() -> None:
    with migrated_folder() as folder:
        command = [sys.executable, "-m", "tests.chaos", "--room", "audit", "--kills", "5", "--folder", str(folder)]
        command += ["--victims", *VICTIMS]
        done = subprocess.run(
            command, check=False, cwd=ROOT, env=environment(folder), capture_output=True, text=True, timeout=900
        )
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, _, exports, last = done.stdout.splitlines()
    assert {f"{victim} 1" for victim in VICTIMS} == set(first.split(": ")[1].split("; "))
    assert second.endswith("lost 0, double 0")
    assert exports.endswith("given up 0, killed in mid file 1")
    assert last == "every event is sealed once, without a gap, every proof is valid, and every export is whole"
