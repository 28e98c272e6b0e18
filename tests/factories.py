"""Makes tenants by the real services, each with names of its own."""

import functools
import uuid
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password

from tenancy import access
from tenancy.audit.services import Actor
from tenancy.models import ApiKey, Membership, Organization, Project, User
from tenancy.roles import KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys, organizations

PASSWORD = "correct-horse-battery-9"


@dataclass(slots=True)
class Tenant:
    """An organization with what most tests need."""

    organization: Organization
    owner: User
    project: Project
    key: ApiKey
    secret: str

    @property
    def actor(self) -> Actor:
        """The owner, acting."""
        return Actor("user", str(self.owner.pk), self.owner.email)

    @property
    def headers(self) -> dict[str, str]:
        """What a client of the API sends."""
        return {"Authorization": f"Bearer {self.secret}"}

    @property
    def principal(self) -> access.KeyPrincipal:
        """The key, authenticated."""
        return access.authenticate_key(self.headers["Authorization"], "127.0.0.1")


@functools.cache
def _hashed(password: str) -> str:
    """Argon2 takes a tenth of a second on purpose: once a process is enough."""
    return make_password(password)


def make_user(name: str = "Ada") -> User:
    """A person with a confirmed address and PASSWORD."""
    email = f"{name.lower()}-{uuid.uuid4().hex[:12]}@example.com"
    user = User.objects.create(email=email, password=_hashed(PASSWORD), name=name)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def make_tenant(scopes: list[str] | None = None) -> Tenant:
    """An organization, its owner, its first project and a key with every scope (or those given)."""
    owner = make_user()
    organization = organizations.create(user=owner, name=f"Org {uuid.uuid4().hex[:12]}")
    with scope(organization):
        project = Project.objects.get()
        maker = keys.Maker(Actor("user", str(owner.pk), owner.email), user=owner, role=Role.OWNER)
        made = keys.create(maker=maker, project_id=project.pk, name="Test", scopes=scopes or KeyScope.values)
    return Tenant(organization, owner, project, made.key, made.secret)


def add_member(tenant: Tenant, role: Role, name: str = "Bob") -> User:
    """Another member of the tenant's organization."""
    user = make_user(name)
    with scope(tenant.organization):
        Membership.objects.create(user=user, role=role)
    return user
