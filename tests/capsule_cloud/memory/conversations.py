"""What tests of conversations say: turns, and the calls with a tenant's own ids filled in."""

from typing import Any

import orjson

from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.services import sessions
from capsule_cloud.memory.services.sessions import IngestResult, SealResult, TurnPair
from tenancy.scope import scope
from tests.factories import Tenant

CODE = """```python
class Ledger:
    def add(self, entry: Entry) -> None:
        import decimal
        self.entries.append(entry)
        self.total += decimal.Decimal(entry.amount)

    def balance(self) -> decimal.Decimal:
        return self.total
```"""


def pair(text: str = "My name is Ada", answer: str = "Nice to meet you, Ada.") -> TurnPair:
    """One question and its answer."""
    return TurnPair(text, answer)


def ingest(tenant: Tenant, session_id: str, *turns: TurnPair, **options: Any) -> IngestResult:
    """Turns into a session of the tenant's project."""
    return sessions.ingest(
        organization_id=tenant.organization.pk,
        project_id=tenant.project.pk,
        session_id=session_id,
        turns=turns or (pair(),),
        actor=tenant.actor,
        **options,
    )


def seal(tenant: Tenant, session_id: str, **options: Any) -> SealResult:
    """The session's capsule."""
    with scope(tenant.organization):
        return sessions.seal(project_id=tenant.project.pk, session_id=session_id, actor=tenant.actor, **options)


def document_of(tenant: Tenant, capsule_id: str) -> dict[str, Any]:
    """A capsule of the tenant's project, as stored."""
    with scope(tenant.organization):
        capsule = Capsule.objects.get(project_id=tenant.project.pk, capsule_id=capsule_id)
        document: dict[str, Any] = orjson.loads(capsule.document)
        return document
