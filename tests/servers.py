"""Pytest plugin: real PostgreSQL and Valkey for one test run, shared by all its workers, away from development's data."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from capsule_cloud.lib import embedded
from capsule_cloud.lib.processes import StartFailed

# A test run may be forgotten in a power cut: it is worth the speed.
UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_running = pytest.StashKey[ExitStack]()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Choose the run's own data folder before Django's settings read the environment.

    Workers inherit the choice from the controller. With DATABASE_URL and BROKER_URL given nothing is started.
    """
    os.environ.setdefault("CAPSULE_ENV", "test")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        early_config.stash[_running] = stack = ExitStack()
        os.environ["CAPSULE_DATA_DIR"] = str(_free_folder(stack))
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the servers, in the controller alone and before xdist starts its workers."""
    stack = session.config.stash.get(_running, None)
    if stack is None:
        return
    folder = embedded.data_dir()
    if "BROKER_URL" not in os.environ:
        stack.enter_context(embedded.Valkey(folder))
    if "DATABASE_URL" not in os.environ:
        try:
            stack.enter_context(embedded.Postgres(folder, UNSAFE_BUT_FAST))
        except StartFailed:  # broken by a power cut, see above
            shutil.rmtree(folder / "postgres")
            stack.enter_context(embedded.Postgres(folder, UNSAFE_BUT_FAST))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers; their data stays, so that the next run can reuse a prepared database."""
    if stack := config.stash.get(_running, None):
        stack.close()


def _free_folder(stack: ExitStack) -> Path:
    """The first data folder that no other test run uses; several runs at once do not meet."""
    base = embedded.data_dir()
    base.mkdir(mode=0o711, parents=True, exist_ok=True)
    number = 0
    while True:
        lock = (base / f"test-{number}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            number += 1
        else:
            stack.enter_context(lock)
            return base / f"test-{number}"
