"""Rooms stay small and keep their names."""

import ast
from pathlib import PurePosixPath

import pytest

from tests.architecture.sources import PACKAGES, imports, python_files, read, tracked, tree

LONGEST_FILE = 500
HOMELESS_NAMES = {"utils", "helpers", "common", "signals", "managers", "exceptions", "misc", "base_utils"}
TOP_LEVEL = {".ci", ".github", "docs", "infra", "tests", *PACKAGES}


def test_no_file_is_too_long_to_read() -> None:
    lengths = {name: read(name).count("\n") for name in python_files()}
    found = {name: length for name, length in lengths.items() if length > LONGEST_FILE}
    assert not found, f"Split by noun (services/invitations.py), not by number: {found}"


def test_no_module_has_a_name_that_says_nothing() -> None:
    found = [name for name in python_files() if HOMELESS_NAMES & {part.removesuffix(".py") for part in name.split("/")}]
    assert not found, f"Name the file for what it owns: {found}"


def test_nothing_becomes_a_top_level_package_by_accident() -> None:
    found = {name.split("/")[0] for name in tracked() if "/" in name} - TOP_LEVEL
    assert not found, f"The top level is fixed (docs/architecture.md); put these inside a room: {found}"


def test_the_staff_console_is_the_only_room_with_django_admin() -> None:
    found = [
        f"{name}:{line}"
        for name in python_files(with_tests=False)
        if not name.startswith("admin_portal/")
        for line, module in imports(tree(name))
        if module.startswith("django.contrib.admin")
    ]
    found += [name for name in python_files() if PurePosixPath(name).name == "admin.py" and "admin_portal/" not in name]
    assert not found, f"Staff pages live in admin_portal: {found}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_in_one_sentence_what_it_owns(package: str) -> None:
    mine = [name for name in python_files(with_tests=False) if name.startswith(f"{package}/")]
    found = [name for name in mine if "/migrations/" not in name and not ast.get_docstring(tree(name))]
    assert not found, f"Begin the file with a docstring: {found}"


def test_migrations_import_no_models() -> None:
    found = [
        f"{name}:{line} imports {module}"
        for name in python_files(with_tests=False)
        if "/migrations/" in name
        for line, module in imports(tree(name))
        if module.split(".")[0] in PACKAGES and ".models" in module
    ]
    assert not found, f"A migration must run against yesterday's models: use apps.get_model: {found}"
