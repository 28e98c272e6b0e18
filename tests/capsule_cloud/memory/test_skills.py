"""Skills that somebody writes down themselves."""

import orjson
import pytest

from capsule_cloud.memory.limits import InvalidInput, TooLarge
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.selectors.recall import recall
from capsule_cloud.memory.services.skills import create_skill
from tenancy.audit.models import AuditEvent
from tenancy.scope import scope
from tests.factories import Tenant

ROLLBACK = "When a release fails: redeploy the tag before it, then tell the channel."


def test_a_skill_is_kept_audited_and_recalled(tenant: Tenant) -> None:
    with scope(tenant.organization):
        capsule = create_skill(
            project_id=tenant.project.pk,
            user_id="dana",
            description=ROLLBACK,
            name="Rollback",
            tags=["ops"],
            actor=tenant.actor,
        )
        assert (capsule.capsule_type, capsule.title, capsule.tags) == ("skill", "Rollback", ["ops"])
        assert orjson.loads(capsule.document)["payload"]["instructions"] == ROLLBACK
        [event] = AuditEvent.objects.filter(action="memory.skill.created")
        assert event.target["id"] == capsule.capsule_id
        found = recall(project_id=tenant.project.pk, user_id="dana", query="the release failed, what now?")
        assert found.sources == [capsule.capsule_id]
        assert found.skills[0]["skill_name"] == "Rollback"


def test_a_skill_without_a_name_is_named_after_its_description(tenant: Tenant) -> None:
    with scope(tenant.organization):
        capsule = create_skill(project_id=tenant.project.pk, user_id="dana", description=ROLLBACK, actor=tenant.actor)
    assert capsule.title == "When a release fails: redeploy the tag before it,"


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({"description": " \n"}, InvalidInput),
        ({"description": "a\x00b"}, InvalidInput),
        ({"description": "x" * 262_145}, TooLarge),
        ({"name": "n" * 2_001}, TooLarge),
        ({"user_id": ""}, InvalidInput),
        ({"tags": [""]}, InvalidInput),
    ],
)
def test_what_cannot_be_kept_is_refused(tenant: Tenant, values: dict[str, object], refusal: type[Exception]) -> None:
    usual = {"user_id": "dana", "description": ROLLBACK, "actor": tenant.actor}
    with scope(tenant.organization):
        with pytest.raises(refusal):
            create_skill(project_id=tenant.project.pk, **usual | values)  # type: ignore[arg-type]
        assert not Capsule.objects.exists()
