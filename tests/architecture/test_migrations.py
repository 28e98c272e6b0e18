"""Migrations are complete, linear, and named by a person."""

import re
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from tests.architecture.sources import ROOT

AUTOMATIC_NAME = re.compile(r"^\d{4}_(auto_|initial$|alter_|remove_|delete_|rename_|.*_and_more$)")


@pytest.fixture(scope="module")
def loader() -> MigrationLoader:
    """All migrations, read from the files alone."""
    return MigrationLoader(None, ignore_no_migrations=True)


def own_apps() -> set[str]:
    """The labels of the apps whose migrations are in this repository, dj-stripe's included."""
    ours = {config.label for config in apps.get_app_configs() if Path(config.path).is_relative_to(ROOT)}
    return {label for label in ours if ".venv" not in apps.get_app_config(label).path} | {"djstripe"}


@pytest.mark.django_db
def test_no_model_change_lacks_its_migration() -> None:
    output = StringIO()
    try:
        call_command("makemigrations", *sorted(own_apps()), check=True, dry_run=True, stdout=output, skip_checks=True)
    except (SystemExit, CommandError):
        remedy = "Run `manage.py makemigrations <app> --name <what_it_does>`"
        pytest.fail(f"{remedy} (djstripe too, after an upgrade):\n{output.getvalue()}")
    assert connection.vendor == "postgresql"


def test_every_history_is_linear(loader: MigrationLoader) -> None:
    heads = Counter(app for app, _ in loader.graph.leaf_nodes() if app in own_apps())
    assert not [app for app, count in heads.items() if count > 1], "Renumber the later one after the earlier one."
    numbers = Counter((app, name[:4]) for app, name in loader.disk_migrations if app in own_apps())
    assert not [number for number, count in numbers.items() if count > 1], "Two migrations have one number."


def test_every_migration_has_a_name_that_a_person_gave(loader: MigrationLoader) -> None:
    found = [
        f"{app}/{name}" for app, name in loader.disk_migrations if app in own_apps() and AUTOMATIC_NAME.match(name)
    ]
    assert not found, f"Rename them for what they do (0003_keep_turns): {found}"
