"""The demo organization of a development machine, made by the services that customers' sign-ups use."""

from dataclasses import dataclass
from pathlib import Path

from allauth.account.models import EmailAddress

from capsule_cloud.lib import embedded
from tenancy.access import InvalidKey, authenticate_key
from tenancy.audit.services import Actor
from tenancy.models import Project, User
from tenancy.roles import KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys, organizations

EMAIL = "demo@example.com"
NAME = "Demo"


@dataclass(frozen=True, slots=True)
class Demo:
    """How to get into the demo organization: on the web, and through the API."""

    email: str
    password: str
    api_key: str


def ensure() -> Demo:
    """The demo organization, made on the first call in this data folder; its key is kept beside the other secrets."""
    password = embedded.secret("password of the demo account")[:16]
    key_file = embedded.data_dir() / "demo-api-key"
    if (kept := _kept_key(key_file)) is None:
        kept = _create(password)
        key_file.touch(mode=0o600)
        key_file.write_text(kept)
    return Demo(EMAIL, password, kept)


def _kept_key(key_file: Path) -> str | None:
    try:
        key = key_file.read_text()
        authenticate_key(f"Bearer {key}", "127.0.0.1")
    except (FileNotFoundError, InvalidKey):
        return None
    return key


def _create(password: str) -> str:
    user = User.objects.filter(email=EMAIL).first() or User.objects.create_user(EMAIL, password)
    EmailAddress.objects.get_or_create(user=user, email=EMAIL, defaults={"verified": True, "primary": True})
    organization = organizations.create(user=user, name=NAME)
    maker = keys.Maker(actor=Actor("user", str(user.pk), user.email), user=user, role=Role.OWNER)
    with scope(organization):
        project = Project.objects.get()
        return keys.create(maker=maker, project_id=project.pk, name="Demo", scopes=list(KeyScope)).secret
