"""The project's own files, for the tests that read them."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("capsule_cloud", "tenancy", "billing", "connectors", "admin_portal")
GENERATED = ("billing/djstripe_migrations/",)


@cache
def tracked() -> tuple[str, ...]:
    """Every file that is committed or about to be, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return tuple(sorted(name for name in set(listed) if (ROOT / name).is_file()))


def python_files(*, with_tests: bool = True) -> list[str]:
    """The Python files that people write (generated ones are not read)."""
    return [
        name
        for name in tracked()
        if name.endswith(".py")
        and not name.startswith(GENERATED)
        and (with_tests or name.startswith(tuple(f"{package}/" for package in PACKAGES)))
    ]


def read(name: str) -> str:
    """A file's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def tree(name: str) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse(read(name), filename=name)


def imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the dotted names of everything that is imported anywhere in the node."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            yield from ((inner.lineno, alias.name) for alias in inner.names)
        elif isinstance(inner, ast.ImportFrom) and inner.module and not inner.level:
            yield inner.lineno, inner.module
            yield from ((inner.lineno, f"{inner.module}.{alias.name}") for alias in inner.names)
