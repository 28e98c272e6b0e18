"""Shorthands for the ledger."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from billing.credits.models import Grant
from billing.credits.services import grant
from tenancy.audit.services import SYSTEM
from tests.factories import Tenant, make_tenant

Give = Callable[..., Grant]


@pytest.fixture
def committed(transactional_db: None) -> Tenant:
    """An organization that other connections see."""
    return make_tenant()


@pytest.fixture
def give() -> Give:
    """Grants to the organization in scope: `give(500)`, `give(500, priority=1, expires_at=…)`."""

    def make(amount: int, **values: Any) -> Grant:
        defaults: dict[str, Any] = {
            "currency": "usd",
            "category": "paid",
            "reason": "A test",
            "ref": uuid4().hex,
            "actor": SYSTEM,
        }
        return grant(amount=amount, **(defaults | values))

    return make
