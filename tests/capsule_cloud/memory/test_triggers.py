"""Skills noticed in a session: found, listed, decided about, and only by their own project."""

from typing import Any
from uuid import uuid4

import pytest

from capsule_cloud.memory.limits import InvalidInput
from capsule_cloud.memory.models import SkillTrigger
from capsule_cloud.memory.selectors import sessions as selectors
from capsule_cloud.memory.selectors.sessions import SessionNotFound
from capsule_cloud.memory.services import triggers
from capsule_cloud.memory.services.sessions import SessionSealed
from capsule_cloud.memory.services.triggers import TriggerNotFound
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.models import Project
from tenancy.scope import scope
from tests.capsule_cloud.memory.conversations import CODE, document_of, ingest, pair, seal
from tests.factories import Tenant

ADVICE = "Keep a ledger of every change, append only."
BOOKMARK = pair("perfect, remember this", ADVICE)


def waiting(tenant: Tenant, session_id: str = "s") -> list[SkillTrigger]:
    with scope(tenant.organization):
        return selectors.triggers(project_id=tenant.project.pk, session_id=session_id)


def resolve(tenant: Tenant, event_id: str, resolution: str, session_id: str = "s") -> SkillTrigger:
    with scope(tenant.organization):
        return triggers.resolve(
            project_id=tenant.project.pk,
            session_id=session_id,
            event_id=event_id,
            resolution=resolution,
            actor=tenant.actor,
        )


def payload_after(tenant: Tenant, resolution: str) -> dict[str, Any]:
    ingest(tenant, "s", pair("How do I keep an audit trail?", "Like this."), BOOKMARK)
    [trigger] = waiting(tenant)
    resolve(tenant, trigger.event_id, resolution)
    payload: dict[str, Any] = document_of(tenant, seal(tenant, "s").capsule_id)["payload"]
    return payload


def test_an_affirmed_answer_is_noticed(tenant: Tenant) -> None:
    ingest(tenant, "s", pair())
    result = ingest(tenant, "s", BOOKMARK)

    assert result.pending_triggers == 1
    [trigger] = waiting(tenant)
    assert trigger.event_id.startswith("evt_")
    assert trigger.suggested_name == "User-bookmarked solution (Turn 4)"
    assert (trigger.rule, trigger.confidence, trigger.preview) == ("user_affirmation", 0.65, ADVICE)
    assert trigger.turn_number == 4


def test_repetition_is_noticed_across_ingests(tenant: Tenant) -> None:
    plain = CODE.replace("import", "from").replace("class ", "").replace("def ", "")
    results = [ingest(tenant, "s", pair(f"again {n}", plain)) for n in range(3)]

    assert [result.pending_triggers for result in results] == [0, 0, 1]
    assert waiting(tenant)[0].suggested_name == "Repeated solution pattern (Turn 6)"


def test_repetition_is_noticed_within_a_batch(tenant: Tenant) -> None:
    plain = CODE.replace("import", "from").replace("class ", "").replace("def ", "")

    assert ingest(tenant, "s", *[pair("again", plain)] * 3).pending_triggers == 1


@pytest.mark.parametrize("resolution", ["extract_skill", "extract_hybrid"])
def test_an_extracted_skill_is_in_the_capsule(tenant: Tenant, resolution: str) -> None:
    payload = payload_after(tenant, resolution)

    [skill] = payload["skills"]
    assert skill["skill_name"] == "User-bookmarked solution (Turn 4)"
    assert skill["instructions"] == ADVICE
    assert skill["source_session"] == "s"


def test_a_merged_trigger_is_in_the_summary(tenant: Tenant) -> None:
    payload = payload_after(tenant, "merge_memory")

    assert payload["memory"]["context_summary"].endswith(f"\n\n{ADVICE}")
    assert payload["skills"] == []


@pytest.mark.parametrize("resolution", ["ignore", "never"])
def test_a_dismissed_trigger_leaves_nothing(tenant: Tenant, resolution: str) -> None:
    payload = payload_after(tenant, resolution)

    assert payload["skills"] == []
    assert ADVICE not in payload["memory"]["context_summary"].splitlines()


def test_never_silences_the_rule_for_the_rest_of_the_session_alone(tenant: Tenant) -> None:
    ingest(tenant, "s", BOOKMARK)
    resolve(tenant, waiting(tenant)[0].event_id, "never")

    assert ingest(tenant, "s", BOOKMARK).pending_triggers == 0
    assert ingest(tenant, "s", pair("and in code?", CODE)).pending_triggers == 1  # another rule
    assert ingest(tenant, "another", BOOKMARK).pending_triggers == 1


def test_a_decision_can_be_repeated_and_changed_without_duplicates(tenant: Tenant) -> None:
    ingest(tenant, "s", BOOKMARK)
    [trigger] = waiting(tenant)

    for resolution in ("extract_skill", "extract_skill", "ignore", "extract_skill"):
        resolve(tenant, trigger.event_id, resolution)

    assert ingest(tenant, "s").pending_triggers == 0
    assert len(document_of(tenant, seal(tenant, "s").capsule_id)["payload"]["skills"]) == 1
    with scope(tenant.organization):
        events = AuditEvent.objects.filter(action=actions.MEMORY_TRIGGER_RESOLVED.name).order_by("id")
        decisions = [event.changes["resolution"][1] for event in events]
    assert decisions == ["extract_skill", "ignore", "extract_skill"]


def test_dismissing_is_deciding_for_nothing(tenant: Tenant) -> None:
    ingest(tenant, "s", BOOKMARK)
    with scope(tenant.organization):
        dismissed = triggers.dismiss(
            project_id=tenant.project.pk,
            session_id="s",
            event_id=waiting(tenant)[0].event_id,
            actor=tenant.actor,
        )

    assert dismissed.resolution == "ignore"
    assert waiting(tenant) == []


def test_an_unknown_resolution_is_refused(tenant: Tenant) -> None:
    ingest(tenant, "s", BOOKMARK)

    with pytest.raises(InvalidInput, match="Invalid resolution: later"):
        resolve(tenant, waiting(tenant)[0].event_id, "later")
    assert len(waiting(tenant)) == 1


@pytest.mark.parametrize("event_id", ["evt_missing", "", "evt_019f0000000070008000000000000000", "nul\x00"])
def test_an_unknown_trigger_is_not_found(tenant: Tenant, event_id: str) -> None:
    ingest(tenant, "s", BOOKMARK)

    with pytest.raises(TriggerNotFound):
        resolve(tenant, event_id, "ignore")


def test_a_sealed_session_has_no_decisions_left(tenant: Tenant) -> None:
    ingest(tenant, "s", BOOKMARK)
    [trigger] = waiting(tenant)
    seal(tenant, "s")

    assert waiting(tenant) == []
    with pytest.raises(SessionSealed):
        resolve(tenant, trigger.event_id, "extract_skill")


def test_triggers_are_listed_and_decided_by_their_own_project_alone(tenant: Tenant, stranger: Tenant) -> None:
    ingest(tenant, "s", BOOKMARK, user_id="ada")
    ingest(tenant, "t", BOOKMARK, user_id="bob")
    ingest(tenant, "sealed", BOOKMARK)
    seal(tenant, "sealed")
    ingest(stranger, "s", BOOKMARK)
    [trigger] = waiting(tenant)
    with scope(tenant.organization):
        other = Project.objects.create(name="Other", slug=f"other-{uuid4().hex[:8]}")

        def pending(project: Project, user_id: str | None = None) -> list[str]:
            found = selectors.pending_triggers(project_id=project.pk, user_id=user_id)
            return [trigger.session.external_id for trigger in found]

        assert pending(tenant.project) == ["s", "t"]
        assert pending(tenant.project, "ada") == ["s"]
        assert pending(other) == []

    with pytest.raises(TriggerNotFound):
        resolve(tenant, trigger.event_id, "ignore", session_id="t")
    with pytest.raises(TriggerNotFound):
        resolve(stranger, trigger.event_id, "ignore")
    tenant.project = other
    with pytest.raises(SessionNotFound):
        resolve(tenant, trigger.event_id, "ignore")
