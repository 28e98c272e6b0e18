"""Rooms import downwards only, and every import stands at the top of its file."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.architecture.sources import ROOT, imports, python_files, read, tree

# Modules so heavy that importing them where they are needed has been measured to pay: name -> what it costs.
HEAVYWEIGHTS = {
    "saml2": "2 s and 52 MiB in every process, for one organization in a hundred",
    "stripe": "1.1 s in every process, for the billing pages alone",
    "wordllama": "loads its tables when the first capsule is embedded",
}


def test_the_arrows_between_rooms_point_down() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, f"Move the code down, or the caller up (docs/architecture.md):\n{answer.stdout}"


def test_no_arrow_has_an_exception() -> None:
    rules = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    assert not [rule["name"] for rule in rules if "ignore_imports" in rule], "Remove ignore_imports: fix the arrow."


def test_nothing_is_imported_inside_a_function() -> None:
    found = [
        f"{name}:{line} imports {module}"
        for name in python_files(with_tests=False)
        for function in ast.walk(tree(name))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for line, module in imports(function)
        if module.split(".")[0] not in HEAVYWEIGHTS
    ]
    assert not found, f"Import at the top of the file; what cannot stand there shows a wrong arrow: {found}"


def test_nothing_is_imported_for_types_alone() -> None:
    found = [name for name in python_files(with_tests=False) if "TYPE_CHECKING" in read(name)]
    assert not found, f"A TYPE_CHECKING block hides an arrow: import it, or move the type down: {found}"
