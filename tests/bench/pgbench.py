"""The limit: the same SQL sent by pgbench, prepared and pipelined, with nothing around it."""

import re
import subprocess
import tempfile

from capsule_cloud.lib import embedded
from capsule_cloud.lib.embedded.binaries import postgres_bin
from tests.bench.load import CLIENTS, NotMeasured
from tests.bench.world import Place

# What a scoped read is in SQL: a transaction, the tenant, the row by its index under row security.
PIPELINE = """\\set n random(0, {last})
\\startpipeline
BEGIN;
SELECT set_config('app.organization_id', '{organization}', true);
SELECT document FROM memory_capsule
 WHERE organization_id = '{organization}' AND project_id = '{project}'
   AND capsule_id = 'cap_20260101_4240_' || lpad((:n)::text, 12, '0') AND (expires_at IS NULL OR expires_at > now());
COMMIT;
\\endpipeline
"""


def transactions_a_second(place: Place, seconds: float) -> float:
    """How many such reads PostgreSQL answers, for as many clients as the HTTP measures have, as the product's role."""
    script = PIPELINE.format(last=place.size - 1, organization=place.organization_id, project=place.project_id)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [str(postgres_bin() / "pgbench"), "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "1"]
        command += ["-T", str(max(1, round(seconds))), "-f", file.name, embedded.urls().app]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode or not found:
        raise NotMeasured(f"pgbench failed: {done.stderr}")
    return float(found[1])
