"""What must not be written down is nowhere: neither in the log nor in a table, neither in a mail nor in the spool."""

import logging
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings
from django.test import Client, override_settings

from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.memory.capsules_for_tests import memory, store
from tests.factories import make_tenant
from tests.raw import connect


def tables() -> list[str]:
    with connect("superuser") as server:
        rows = server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return [name for (name,) in rows]


def written_down(secret: str) -> list[str]:
    """The tables and spool files that hold it."""
    with connect("superuser") as server:
        found = [
            table
            for table in tables()
            if server.execute(
                f'SELECT 1 FROM "{table}" t WHERE position(%s in t::text) > 0 LIMIT 1', [secret]
            ).fetchone()
        ]
    spool = Path(settings.USAGE_SPOOL_DIR)
    return found + [path.name for path in spool.glob("*") if secret.encode() in path.read_bytes()]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that is logged, down to the least."""
    caplog.set_level(logging.DEBUG)
    return caplog


def test_a_passphrase_is_written_nowhere(transactional_db: None, log: pytest.LogCaptureFixture) -> None:
    api, passphrase = Api(make_tenant()), f"pass-{uuid4().hex}"
    [capsule] = store(api.tenant, memory("the vault opens with 4711"))
    path = f"/api/v1/capsules/{capsule}/export?encrypt=true"
    assert api.get(f"{path}&passphrase={passphrase}").status_code == 200
    assert api.get(path, **{"X-Passphrase": passphrase}).status_code == 200
    assert api.get(f"{path}&passphrase={passphrase}&format=prompt").status_code == 400
    assert api.get(f"/api/v1/capsules/x/export?encrypt=true&passphrase={passphrase}").status_code == 404
    answer = api.post("/api/v1/capsules/import?passphrase=" + passphrase)
    assert passphrase not in answer.content.decode()
    assert passphrase not in log.text
    assert written_down(passphrase) == []


def test_a_new_keys_secret_is_written_nowhere(transactional_db: None, log: pytest.LogCaptureFixture) -> None:
    api = Api(make_tenant())
    made = api.post("/v1/keys", {"name": "K", "scopes": ["org:read"]}, **{"Idempotency-Key": uuid4().hex}).json()
    secret = made["secret"]
    assert api.get("/v1/nothing", Authorization=f"Bearer {secret}").status_code == 404
    assert api.get("/v1/audit/events", Authorization=f"Bearer {secret}").status_code == 403
    browser = Client()
    browser.force_login(api.tenant.owner)
    page = f"/o/{api.tenant.organization.slug}/keys/new/"
    form = {"name": "L", "project": str(api.tenant.project.pk), "scopes": "memory:read"}
    shown = browser.get(browser.post(page, form)["Location"]).content.decode()
    other = shown[shown.index("cmk_") :][: len(secret)]
    for one in (secret, other, api.tenant.secret):
        assert len(one) == len(secret)
        assert one not in log.text
        assert written_down(one) == []


def test_where_mail_is_really_sent_there_is_no_outbox(db: None) -> None:
    with override_settings(EMAIL_BACKEND="capsule_cloud.lib.mail.OutboxBackend"):
        assert Client().get("/outbox/").status_code == 200
    with override_settings(EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend"):
        assert Client().get("/outbox/").status_code == 404
    with override_settings(EMAIL_BACKEND="capsule_cloud.lib.mail.OutboxBackend", OUTBOX_DIR=""):
        assert Client().get("/outbox/").status_code == 404
