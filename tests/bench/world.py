"""What the measures share: one organization with high limits, and projects of it with as many capsules as asked for."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

from tenancy.models import Organization
from tenancy.roles import KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys, projects
from tests.bench import corpus, loading
from tests.bench.load import Request
from tests.factories import Tenant, make_tenant

NO_LIMIT = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """A project, the key that opens it, and how many capsules were loaded into it."""

    organization_id: UUID
    project_id: UUID
    secret: str
    size: int


@dataclass(slots=True)
class World:
    """Makes places on demand and remembers them. `is_quick` asks the measures for fewer and shorter windows."""

    folder: Path
    is_quick: bool
    _tenant: Tenant | None = None
    _places: dict[int, Place] = field(default_factory=dict)
    _engine_folders: dict[int, Path] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """How often targets alternate."""
        return 3 if self.is_quick else 5

    @property
    def seconds(self) -> float:
        """How long one window of load is."""
        return 3 if self.is_quick else 5

    def place(self, size: int) -> Place:
        """A project with the first `size` capsules of the corpus, all of `corpus.USER`."""
        if size not in self._places:
            self._places[size] = self._new_place(size)
        return self._places[size]

    def engine_folder(self, size: int) -> Path:
        """The engine's storage with the same capsules."""
        if size not in self._engine_folders:
            folder = self.folder / f"engine-{size}"
            loading.into_engine(folder, size)
            self._engine_folders[size] = folder
        return self._engine_folders[size]

    def _new_place(self, size: int) -> Place:
        if self._tenant is None:
            self._tenant = make_tenant()
        tenant = self._tenant
        with scope(tenant.organization):
            Organization.objects.update(
                requests_per_minute=NO_LIMIT, project_limit=100, key_limit=100, operation_limit=NO_LIMIT
            )
            project = projects.create(actor=tenant.actor, name=f"Bench {size}")
            maker = keys.Maker(tenant.actor, user=tenant.owner, role=Role.OWNER)
            made = keys.create(maker=maker, project_id=project.pk, name="Bench", scopes=list(KeyScope.values))
        loading.into_product(tenant.organization.pk, project.pk, size)
        loading.settle()
        return Place(tenant.organization.pk, project.pk, made.secret, size)


def recalls(size: int) -> list[Request]:
    """Recall requests for known words of capsules all over the corpus."""
    url = partial("/api/v1/recall?{}".format)
    return [Request(url(urlencode({"query": q, "user_id": corpus.USER, "top_k": 3}))) for q in corpus.queries(size)]


def gets(size: int) -> list[Request]:
    """Reads of single capsules all over the corpus."""
    step = max(1, size // 1000)
    return [Request(f"/api/v1/capsules/{corpus.capsule_id(number)}") for number in range(0, size, step)]


def lists() -> list[Request]:
    """The newest twenty capsules of the end user."""
    return [Request(f"/api/v1/capsules?{urlencode({'user_id': corpus.USER, 'limit': 20})}")]
