"""Runs the measures that BENCH names (all without it; `quick` for short windows) and writes docs/performance.md."""

import importlib
import os
import shutil
import subprocess
import sys
import time

import django

from tests.bench import report
from tests.bench.house import ROOT, house

MEASURES = (
    "recall",
    "writes",
    "reads",
    "indexed_read",
    "costs",
    "quotas",
    "metering",
    "freshness",
    "webhooks",
    "deliveries",
    "audit_append",
    "audit_sealing",
    "audit_streams",
    "growth",
    "deprovision",
    "scim",
    "saml",
)
# Scripts with a database of their own; what they print is written down as it is.
SCRIPTS = ("recall_quality", "tenants", "month_close", "audit_exports", "audit_search")


def main() -> int:
    """0 when everything could be measured; a missed target is in the table, not in the exit status."""
    words = [word for text in [os.environ.get("BENCH", ""), *sys.argv[1:]] for word in text.replace(",", " ").split()]
    is_quick = "quick" in words
    chosen = [word for word in words if word != "quick"] or [*MEASURES, *([] if is_quick else SCRIPTS)]
    if unknown := set(chosen) - {*MEASURES, *SCRIPTS}:
        print(f"No such measure: {', '.join(sorted(unknown))}. There are: quick, {', '.join([*MEASURES, *SCRIPTS])}.")
        return 2
    ensure_wrk()
    command = f"make bench BENCH={','.join(words)}" if words else "make bench"
    if any(name in MEASURES for name in chosen):
        with house() as folder:
            django.setup()
            world = importlib.import_module("tests.bench.world").World(folder, is_quick)
            for name in filter(chosen.__contains__, MEASURES):
                measure = importlib.import_module(f"tests.bench.{name}").measure
                announce(name, measure(world), command, is_quick=is_quick)
    for name in filter(chosen.__contains__, SCRIPTS):
        script = [sys.executable, "-m", f"tests.bench.{name}"]
        text = subprocess.run(script, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        announce(name, text, command, is_quick=is_quick)
    return 0


STARTED = time.monotonic()


def announce(name: str, text: str, command: str, *, is_quick: bool) -> None:
    """Print a measure's table; a full run also writes it down."""
    print(f"\n## {name} ({time.monotonic() - STARTED:.0f} s)\n\n{text}", flush=True)
    if not is_quick:
        report.write(name, text, command)


def ensure_wrk() -> None:
    """Install the load generator where we may; the measures that need it say so where we may not."""
    if shutil.which("wrk") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("bench: installing wrk")
        subprocess.run(["apt-get", "install", "--yes", "--quiet=2", "wrk"], stdout=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    sys.exit(main())
