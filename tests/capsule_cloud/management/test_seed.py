"""The demonstration organization: made once, by the real services, and worth looking at."""

from pathlib import Path

import pytest

from billing.metering.models import UsageEvent
from capsule_cloud.management.conversations import bundled
from capsule_cloud.management.seed import DemoAccount, seed_demo
from capsule_cloud.memory.models import Capsule, Session
from capsule_cloud.memory.selectors.recall import recall
from tenancy.access import InvalidKey, KeyPrincipal, authenticate_key, reset_key_cache
from tenancy.audit.models import AuditEvent
from tenancy.models import User
from tenancy.scope import scope

pytestmark = pytest.mark.django_db


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DemoAccount:
    """The account, with a data folder of its own."""
    monkeypatch.setenv("CAPSULE_DATA_DIR", str(tmp_path))
    return seed_demo()


def principal(account: DemoAccount) -> KeyPrincipal:
    return authenticate_key(f"Bearer {account.key_secret}", "127.0.0.1")


def test_the_account_can_sign_in_and_its_key_works(demo: DemoAccount) -> None:
    assert User.objects.get(email=demo.email).check_password(demo.password)
    assert principal(demo).project_slug == "default"


def test_every_conversation_is_sealed_counted_and_audited(demo: DemoAccount) -> None:
    turns = sum(len(one.turns) for one in bundled())
    with scope(principal(demo).organization_id):
        assert set(Capsule.objects.values_list("title", flat=True)) == {one.title for one in bundled()}
        assert UsageEvent.objects.filter(meter="ingest").count() == turns
        assert UsageEvent.objects.filter(meter="seal").count() == len(bundled())
        assert AuditEvent.objects.filter(action="memory.session.ingested").count() == turns


def test_a_second_call_changes_nothing(demo: DemoAccount) -> None:
    with scope(principal(demo).organization_id):
        before = AuditEvent.objects.count()
    assert seed_demo() == demo
    with scope(principal(demo).organization_id):
        assert AuditEvent.objects.count() == before
        assert Session.objects.count() == len(bundled())


def test_a_lost_key_is_revoked_and_replaced(demo: DemoAccount, tmp_path: Path) -> None:
    (tmp_path / "demo-api-key").unlink()
    again = seed_demo()
    reset_key_cache()
    assert again.key_secret != demo.key_secret
    assert (again.email, again.organization_slug) == (demo.email, demo.organization_slug)
    with pytest.raises(InvalidKey):
        principal(demo)


def test_the_key_is_readable_by_its_owner_alone(demo: DemoAccount, tmp_path: Path) -> None:
    assert (tmp_path / "demo-api-key").stat().st_mode & 0o077 == 0


def test_each_question_brings_its_own_conversation_first(demo: DemoAccount) -> None:
    who = principal(demo)
    with scope(who.organization_id):
        for one in bundled():
            capsule = Capsule.objects.get(session_id=one.session_id)
            for question in one.questions:
                found = recall(project_id=who.project_id, query=question.ask, user_id=one.user_id)
                assert found.sources[:1] == [capsule.capsule_id], question.ask
                assert question.answer in found.prompt_injection, question.ask
