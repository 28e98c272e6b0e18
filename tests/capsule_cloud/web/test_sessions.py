"""Sessions in the console."""

from urllib.parse import quote

import pytest
from django.test import Client

from capsule_cloud.memory.models import Capsule, SkillTrigger
from capsule_cloud.memory.services import sessions
from tenancy.scope import scope
from tests.factories import Tenant

ODD = "a/b ?&=%#<i>"


@pytest.fixture
def session(tenant: Tenant, home: str) -> str:
    """The address of an open session in which a skill was noticed."""
    turns = [
        sessions.TurnPair("How do I deploy?", "1. Build the image.\n2. Push it.\n3. Roll it out."),
        sessions.TurnPair("Perfect, remember this", "I will."),
    ]
    sessions.ingest(
        organization_id=tenant.organization.pk,
        project_id=tenant.project.pk,
        session_id=ODD,
        user_id="dana",
        turns=turns,
        actor=tenant.actor,
    )
    return f"{home}sessions/default/?id={quote(ODD, safe='')}"


def converse(tenant: Tenant, session_id: str, pairs: int) -> None:
    """An open session of questions and answers, in the last of which a skill was noticed."""
    turns = [sessions.TurnPair(f"Question {number}.", f"Answer {number}.") for number in range(1, pairs)]
    turns.append(sessions.TurnPair("Perfect, remember this", f"Answer {pairs}."))
    sessions.ingest(
        organization_id=tenant.organization.pk,
        project_id=tenant.project.pk,
        session_id=session_id,
        user_id="dana",
        turns=turns,
        actor=tenant.actor,
    )


def test_the_conversation_is_shown_whatever_its_id(owner: Client, home: str, session: str) -> None:
    assert "a/b ?&amp;=%#&lt;i&gt;" in owner.get(home + "sessions/").content.decode()
    text = owner.get(session).content.decode()
    assert text.index("How do I deploy?") < text.index("2. Push it.") < text.index("Perfect, remember this")


def test_the_list_is_narrowed_as_typed(owner: Client, home: str, session: str) -> None:
    def rows(query: str) -> int:
        answer = owner.get(f"{home}sessions/?{query}", headers={"HX-Request": "true"})
        return answer.content.decode().count("<tr><td>")

    assert rows("q=a/b") == 1
    assert rows("q=zzz") == 0
    assert rows("user=dana&state=open") == 1
    assert rows("state=sealed") == 0
    assert rows("state=nonsense&q=%00a") == 1
    assert owner.get(home + "sessions/?after=nonsense").status_code == 404


def test_a_session_is_sealed_from_its_page(tenant: Tenant, owner: Client, home: str, session: str) -> None:
    answer = owner.post(home + "sessions/default/seal/", {"id": ODD}, follow=True)
    assert "The session is sealed into a capsule." in answer.content.decode()
    assert "Open the capsule" in answer.content.decode()
    with scope(tenant.organization):
        assert Capsule.objects.count() == 1


def test_a_noticed_skill_can_be_kept_or_ignored(tenant: Tenant, owner: Client, home: str, session: str) -> None:
    with scope(tenant.organization):
        trigger = SkillTrigger.objects.earliest("id")
    assert trigger.suggested_name in owner.get(session).content.decode()
    wanted = {"id": ODD, "event": trigger.event_id, "resolution": "ignore"}
    assert "Decided." in owner.post(home + "sessions/default/triggers/", wanted, follow=True).content.decode()
    with scope(tenant.organization):
        assert SkillTrigger.objects.get(pk=trigger.pk).resolution == "ignore"
    odd = owner.post(home + "sessions/default/triggers/", wanted | {"resolution": "explode"}, follow=True)
    assert "Must be one of" in odd.content.decode()
    assert owner.post(home + "sessions/default/triggers/", wanted | {"event": "evt_nothing"}).status_code == 404


@pytest.mark.parametrize("resolution", SkillTrigger.Resolution.values)
def test_every_resolution_is_offered_and_can_be_chosen(
    tenant: Tenant, owner: Client, home: str, session: str, resolution: str
) -> None:
    with scope(tenant.organization):
        trigger = SkillTrigger.objects.earliest("id")
    assert f'name="resolution" value="{resolution}"' in owner.get(session).content.decode()
    owner.post(home + "sessions/default/triggers/", {"id": ODD, "event": trigger.event_id, "resolution": resolution})
    with scope(tenant.organization):
        assert SkillTrigger.objects.get(pk=trigger.pk).resolution == resolution


def test_a_long_conversation_comes_a_page_at_a_time(tenant: Tenant, owner: Client, home: str) -> None:
    converse(tenant, "long", 52)
    address = f"{home}sessions/default/?id=long"
    first = owner.get(address).content.decode()
    assert "Answer 25." in first
    assert "Question 26." not in first
    assert "50 of 104 turns" in first
    assert f'hx-get="{address}&amp;after=50"' in first
    second = owner.get(f"{address}&after=50", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in second
    assert second.count('class="turn-body"') == 50
    assert "Question 26." in second
    last = owner.get(f"{address}&after=100").content.decode()
    assert "Answer 52." in last
    assert "From the first turn" in last
    assert "Load more" not in last
    for odd in ("x", "-1", "%00", ""):
        assert "Question 1." in owner.get(f"{address}&after={odd}").content.decode()
    assert "There are no more turns." in owner.get(f"{address}&after={'9' * 5000}").content.decode()


def test_unknown_sessions_are_not_found(owner: Client, home: str) -> None:
    assert owner.get(home + "sessions/default/?id=nothing").status_code == 404
    assert owner.get(home + "sessions/default/").status_code == 404
    assert owner.get(home + "sessions/no-project/?id=x").status_code == 404
    assert owner.post(home + "sessions/default/seal/", {"id": "nothing"}).status_code == 404


def test_a_viewer_reads_but_does_not_seal(viewer: Client, home: str, session: str) -> None:
    text = viewer.get(session).content.decode()
    assert "How do I deploy?" in text
    assert "/seal/" not in text
    assert viewer.post(home + "sessions/default/seal/", {"id": ODD}).status_code == 403
