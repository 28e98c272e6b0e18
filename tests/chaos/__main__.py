"""Runs `make chaos-metering` and `make chaos-audit`: servers, killed under load. Exits 1 where a count is wrong."""

import argparse
import importlib
import os
import shutil
import sys
from pathlib import Path

import django

from capsule_cloud.lib import embedded


def main() -> int:
    """0 when everything is there exactly once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--room", choices=["metering", "audit"], default="metering")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7, help="chooses the victims")
    parser.add_argument("--victims", nargs="+", help="who is killed alone (default: everybody whom the room knows)")
    parser.add_argument("--folder", type=Path, help="the data folder, which may have a database (default: a new one)")
    wanted = parser.parse_args()
    base = embedded.data_dir()
    folder: Path = wanted.folder or base.with_name(f"{base.name}-chaos-{os.getpid()}")
    for name in ("DATABASE_URL", "DATABASE_MIGRATE_URL", "BROKER_URL", "CACHE_URL", "USAGE_SPOOL_DIR"):
        os.environ.pop(name, None)
    os.environ |= {"CAPSULE_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "capsule_cloud.settings"}
    os.environ |= {"LOG_LEVEL": "WARNING", "CAPSULE_ENV": "development"}
    django.setup()
    room = importlib.import_module(f"tests.chaos.{wanted.room}")  # it needs the setup, and that the environment
    try:
        victims = {name: room.WEIGHTS[name] for name in wanted.victims or room.WEIGHTS}
        outcome = room.prove(folder, victims, kills=wanted.kills, seed=wanted.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(outcome)
    return 0 if outcome.is_exact else 1


if __name__ == "__main__":
    sys.exit(main())
