"""The engine's own tests of storage, store, sessions, API, REST, MCP and CLI pass on our storage."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import engine_tests
from tests.live import environment

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "tests/unit/test_storage_local.py": 11,
    "tests/unit/test_storage_local_advanced.py": 21,
    "tests/unit/test_store.py": 18,
    "tests/unit/test_store_advanced.py": 18,
    "tests/unit/test_session.py": 8,
    "tests/unit/test_session_advanced.py": 15,
    "tests/unit/test_api.py": 8,
    "tests/unit/test_rest_api_unit.py": 35,
    "tests/unit/test_mcp_unit.py": 19,
    "tests/unit/test_cli_unit.py": 17,
    "tests/integration/test_full_workflow.py": 3,
    "tests/integration/test_rest_api.py": 17,
    "tests/integration/test_mcp_server.py": 7,
}


def test_the_engines_own_tests_pass_on_our_storage(transactional_db: None, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "pytest", *FILES, "-p", "postgres_plugin", "-p", "no:django"]
    command += ["-p", "no:randomly", "-p", "no:cacheprovider", "-q", "--tb=short"]
    extra = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",
        "DJANGO_SETTINGS_MODULE": "capsule_cloud.settings",
    }
    extra |= {"DJANGO_ALLOW_ASYNC_UNSAFE": "true", "CAPSULE_MOCK_EXTRACTOR": "true"}
    run = subprocess.run(
        command, cwd=engine_tests.folder(), env=environment(**extra), capture_output=True, text=True, check=False
    )
    summary = run.stdout.strip().splitlines()[-1] if run.stdout.strip() else run.stderr
    with capsys.disabled():
        sys.stdout.write(f"\nconformance: engine {engine_tests.VERSION} on our storage: {summary}\n")
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert re.match(rf"{sum(FILES.values())} passed\b", summary), summary
    assert not re.search(r"skipped|failed|error|xfail", summary), summary
