"""Markup in every text that a customer can store: the console shows it as text, wherever it shows it."""

from urllib.parse import quote
from uuid import uuid4

import pytest
from django.test import Client

from capsule_cloud.memory.engine import CapsuleType
from capsule_cloud.memory.models import SkillTrigger
from capsule_cloud.memory.services import sessions
from capsule_cloud.memory.services.sessions import TurnPair
from tenancy.audit.models import AuditEvent
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import invitations, keys, organizations, projects
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.memory.capsules_for_tests import sealed, store
from tests.factories import Tenant, make_user

pytestmark = pytest.mark.django_db
MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}{% debug %}"
SKILL = {"skill_name": "brew tea", "instructions": "boil", "description": "how", "trigger_pattern": "tea"}


@pytest.fixture
def soiled(tenant: Tenant) -> Tenant:
    """A tenant all of whose texts hold markup."""
    tenant.owner.name = MARKUP
    tenant.owner.save()
    organization_id, project_id, actor = tenant.organization.pk, tenant.project.pk, tenant.actor
    facts = [{"key": f"tea {MARKUP}", "value": f"green {MARKUP}", "category": MARKUP}]
    skills = [{name: f"{text} {MARKUP}" for name, text in SKILL.items()}]
    hybrid = {"memory": {"facts": facts, "context_summary": f"about {MARKUP}"}, "skills": skills}
    store(tenant, sealed(CapsuleType.HYBRID, hybrid, f"vault {MARKUP}", f"u {MARKUP}", [f"tag {MARKUP}"]))
    store(tenant, sealed(CapsuleType.CONTEXT, {"content": f"cellar {MARKUP}"}, MARKUP, f"u {MARKUP}"))
    turns = [TurnPair(f"Perfect, remember this {MARKUP}", f"```bash\n{MARKUP}\n```\n1. {MARKUP}\n2. boil")]
    sessions.ingest(
        organization_id=organization_id,
        project_id=project_id,
        session_id=f"s {MARKUP}",
        user_id=f"u {MARKUP}",
        turns=turns,
        actor=actor,
    )
    with scope(tenant.organization):
        organizations.update(actor=actor, name=f"Org {MARKUP}"[:120])
        projects.update(actor=actor, project_id=project_id, name=f"Project {MARKUP}"[:120])
        maker = keys.Maker(actor, user=tenant.owner, role=Role.OWNER)
        keys.create(maker=maker, project_id=project_id, name=f"Key {MARKUP}"[:120], scopes=["memory:read"])
        invitations.create(actor=actor, actor_role=Role.OWNER, email=f"{uuid4().hex}@example.com", role=Role.MEMBER)
        assert SkillTrigger.objects.exists()
    return tenant


def test_markup_in_any_text_is_shown_as_text(soiled: Tenant) -> None:
    browser = Client(headers={"User-Agent": f"curl/8 {MARKUP}"})
    browser.force_login(soiled.owner)
    rows = Api(soiled).get("/api/v1/capsules").json()
    home = f"/o/{soiled.organization.slug}/"
    with scope(soiled.organization):
        events = list(AuditEvent.objects.values_list("id", flat=True))
    chosen = "&".join(f"id={row['capsule_id']}" for row in rows)
    session, user = quote(f"s {MARKUP}"), quote(f"u {MARKUP}")
    pages = [
        *("/", "/account/", "/account/sessions/", "/organizations/new/", "/outbox/"),
        *(
            home + page
            for page in ("", "projects/", "projects/default/", "keys/", "keys/new/", "members/", "settings/")
        ),
        *(home + page for page in ("members/leave/", "settings/close/", "projects/default/archive/")),
        *(f"{home}memory/?{query}" for query in ("", "q=vault", "q=green", "q=cellar", "q=boil", f"q={quote(MARKUP)}")),
        *(
            f"{home}memory/?user={user}&tag={quote(MARKUP)}&type={quote(MARKUP)}",
            f"{home}memory/default/forget/?user={user}",
        ),
        *(f"{home}memory/default/{page}?id={row['capsule_id']}" for row in rows for page in ("", "delete/", "fork/")),
        *(f"{home}memory/default/{page}/?{chosen}" for page in ("compare", "merge")),
        *(f"{home}sessions/", f"{home}sessions/?q={session}", f"{home}sessions/default/?id={session}"),
        *(f"{home}audit/", f"{home}audit/?actor={quote(MARKUP)}", *(f"{home}audit/{event}/" for event in events)),
        f"{home}{quote(MARKUP, safe='')}/",
    ]
    shown = 0
    for page in pages:
        for headers in ({}, {"HX-Request": "true"}, {"X-Dialog": "1"}):
            text = browser.get(page, headers=headers).content.decode()
            shown += "&lt;script&gt;" in text
            assert "<script>alert" not in text, page
            assert "<img src=x" not in text, page
            assert "&gt;49" not in text, page
    assert shown > len(pages) / 2, "The markup was hardly anywhere: the test proves nothing."


def test_markup_in_an_invitation_is_shown_as_text_to_the_guest(soiled: Tenant) -> None:
    guest = make_user("Guest")
    with scope(soiled.organization):
        invitations.create(actor=soiled.actor, actor_role=Role.OWNER, email=guest.email, role=Role.MEMBER)
    browser = Client()
    browser.force_login(guest)
    text = browser.get("/organizations/new/").content.decode()
    assert "&lt;script&gt;" in text
    assert "<script>alert" not in text
