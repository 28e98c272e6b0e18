"""The engine is one version everywhere: the pin, the requirement, the lock and what is installed."""

import importlib.metadata
import re
import tomllib

from tests.architecture.sources import read

NAME = "capsule-memory"


def pinned() -> tuple[str, str]:
    """Version and wheel hash of oss-version.txt."""
    found = re.fullmatch(rf"{NAME}==(\S+)\nsha256:([0-9a-f]{{64}})\n", read("oss-version.txt"))
    assert found, f"oss-version.txt has two lines: {NAME}==<version> and sha256:<hash of its wheel>"
    return found[1], found[2]


def test_the_installed_engine_is_the_pinned_one() -> None:
    assert importlib.metadata.version(NAME) == pinned()[0], "Run `make venv`."


def test_the_lock_has_the_pinned_version_and_hash() -> None:
    version, digest = pinned()
    locked = re.search(rf"^{NAME}==(\S+) \\\n((?:    --hash=\S+(?: \\)?\n)+)", read("requirements.lock"), re.MULTILINE)
    assert locked, "Run `make lock`."
    assert locked[1] == version
    assert f"sha256:{digest}" in locked[2]


def test_every_requirement_names_exactly_the_pinned_version() -> None:
    project = tomllib.loads(read("pyproject.toml"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    engines = [requirement for requirement in wanted if requirement.startswith(NAME)]
    assert engines
    assert all(requirement.split("]")[-1] == f"=={pinned()[0]}" for requirement in engines), engines
