"""The snippets that people copy run as they are, against the real server."""

import os
import shutil
import subprocess
import sys
import uuid

import pytest

from capsule_cloud.web.snippets import first_steps
from tests.factories import Tenant
from tests.live import LiveServer

# JavaScript runs where node is; the other two on every machine that runs the tests.
RUNNERS = {
    "bash": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "javascript": ["node", "--input-type=module", "--eval"],
}


@pytest.mark.parametrize("with_key", [True, False])
@pytest.mark.parametrize("language", RUNNERS)
def test_a_snippet_remembers_and_recalls(live: LiveServer, live_tenant: Tenant, language: str, with_key: bool) -> None:
    program = RUNNERS[language]
    needed = "curl" if language == "bash" else program[0]
    if shutil.which(needed) is None:
        pytest.skip(f"NO {needed.upper()} HERE: the {language} snippet is not run")
    key = live_tenant.secret if with_key else ""
    snippets = first_steps(live.url, key=key, session=f"hello-{uuid.uuid4().hex[:8]}")
    code = next(one.code for one in snippets if one.language == language)
    environment = os.environ | {"CAPSULE_API_KEY": live_tenant.secret}
    ran = subprocess.run([*program, code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "They ship on Tuesdays" in ran.stdout
    assert "Historical Memory Context" in ran.stdout
