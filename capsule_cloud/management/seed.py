"""The demonstration account of a development machine, filled by the services that customers' requests go through."""

from dataclasses import dataclass
from uuid import UUID

from allauth.account.models import EmailAddress

from billing.metering.meters import Meter
from billing.metering.services import Use, record, usage_call
from capsule_cloud.lib import embedded
from capsule_cloud.management.conversations import Conversation, bundled
from capsule_cloud.memory.selectors.sessions import SessionNotFound, get_session
from capsule_cloud.memory.services import sessions
from tenancy.access import InvalidKey, KeyPrincipal, authenticate_key, memberships
from tenancy.audit.services import Actor
from tenancy.models import ApiKey, Project, User
from tenancy.roles import KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys, organizations

EMAIL = "demo@example.com"
NAME = "Demo"
KEY_NAME = "Demo"
KEY_FILE = "demo-api-key"  # beside the other secrets of the data folder


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """How to get into the demonstration organization: on the web, and through the API."""

    email: str
    password: str
    key_secret: str
    organization_slug: str


def seed_demo() -> DemoAccount:
    """The demonstration account, made by the first call; later calls find it, and add what is missing.

    A key's secret is shown once, so it is kept in the data folder, readable by its owner alone. When it is lost or no
    longer works, a new key takes its place.
    """
    password = embedded.secret("password of the demo account")[:16]
    user = User.objects.filter(email=EMAIL).first() or User.objects.create_user(EMAIL, password, name=NAME)
    EmailAddress.objects.get_or_create(user=user, email=EMAIL, defaults={"verified": True, "primary": True})
    mine = next((one for one in memberships(user) if one.closed_at is None), None)
    if mine is None:
        organizations.create(user=user, name=NAME)
        mine = next(one for one in memberships(user) if one.closed_at is None)
    secret = _kept_key(mine.organization_id) or _new_key(user, mine.organization_id)
    principal = authenticate_key(f"Bearer {secret}", "127.0.0.1")
    for conversation in bundled():
        _remember(conversation, principal)
    return DemoAccount(EMAIL, password, secret, mine.slug)


def _kept_key(organization_id: UUID) -> str | None:
    try:
        secret = (embedded.data_dir() / KEY_FILE).read_text()
        principal = authenticate_key(f"Bearer {secret}", "127.0.0.1")
    except (FileNotFoundError, InvalidKey):
        return None
    return secret if principal.organization_id == organization_id else None


def _new_key(user: User, organization_id: UUID) -> str:
    actor = Actor("user", str(user.pk), user.email)
    with scope(organization_id):
        for lost in ApiKey.objects.filter(name=KEY_NAME, revoked_at=None):
            keys.revoke(actor=actor, key_id=lost.pk)
        project = Project.objects.filter(archived_at=None).earliest("created_at")
        maker = keys.Maker(actor=actor, user=user, role=Role.OWNER)
        secret = keys.create(maker=maker, project_id=project.pk, name=KEY_NAME, scopes=list(KeyScope)).secret
    path = embedded.data_dir() / KEY_FILE
    path.touch(mode=0o600)
    path.write_text(secret)
    return secret


def _remember(conversation: Conversation, principal: KeyPrincipal) -> None:
    """Send one conversation as the key would: each turn and the seal, counted and audited."""
    organization_id, project_id = principal.organization_id, principal.project_id
    with scope(organization_id):
        try:
            session = get_session(project_id=project_id, session_id=conversation.session_id)
        except SessionNotFound:
            known = 0
        else:
            if session.sealed_at is not None:
                return
            known = session.turn_count // 2

    def use(meter: Meter) -> Use:
        return Use(organization_id, project_id, principal.key_id, meter, end_user=conversation.user_id)

    for turn in conversation.turns[known:]:
        sessions.ingest(
            organization_id=organization_id,
            project_id=project_id,
            session_id=conversation.session_id,
            user_id=conversation.user_id,
            turns=[sessions.TurnPair(turn.user, turn.assistant)],
            actor=principal.actor,
            also=[usage_call(use(Meter.INGEST))],
        )
    with scope(organization_id):
        sessions.seal(
            project_id=project_id,
            session_id=conversation.session_id,
            title=conversation.title,
            tags=conversation.tags,
            facts=conversation.facts,
            summary=conversation.summary,
            actor=principal.actor,
        )
        record(use(Meter.SEAL))
