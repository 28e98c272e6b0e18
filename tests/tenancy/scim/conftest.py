"""A directory over HTTP: what identity providers send, and what they are answered."""

import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from tenancy.models import Organization
from tenancy.scim.directories.tokens import DirectoryPrincipal
from tenancy.scim.models import Directory
from tenancy.scope import scope
from tests.factories import Tenant
from tests.tenancy.scim.directory_things import connected
from tests.tenancy.sso.saml.conftest import own

BASE = "/scim/v2"
SCIM = "application/scim+json"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"


@dataclass(slots=True)
class Idp:
    """An identity provider's client: a directory of a tenant, its token, and a domain of the tenant."""

    tenant: Tenant
    directory: Directory
    principal: DirectoryPrincipal
    secret: str
    domain: str

    def __call__(self, method: str, path: str, body: Any = None, status: int | None = None, **headers: str) -> Any:
        """The answer; its JSON is in `.data`. `status` is what it must be."""
        headers = {"authorization": f"Bearer {self.secret}"} | headers
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        answer: Any = Client(headers=headers).generic(method, BASE + path, data, SCIM)
        answer.data = json.loads(answer.content) if answer.content else None
        if status is not None:
            assert answer.status_code == status, (method, path, answer.status_code, answer.data)
        if answer.status_code >= 400:
            assert answer["Content-Type"] == SCIM
            assert answer.data["schemas"] == [ERROR]
            assert answer.data["status"] == str(answer.status_code)
        return answer

    def user(self, local: str = "", **more: Any) -> Any:
        """A new user with an address in the tenant's domain."""
        email = f"{local or uuid.uuid4().hex[:8]}@{self.domain}"
        body = {"schemas": [USER], "userName": email, "externalId": uuid.uuid4().hex, "active": True} | more
        body.setdefault("emails", [{"value": email, "type": "work", "primary": True}])
        return self("POST", "/Users", body, 201).data

    def group(self, name: str, *members: str) -> Any:
        """A new group with these members."""
        body = {"schemas": [GROUP], "displayName": name, "members": [{"value": one} for one in members]}
        return self("POST", "/Groups", body, 201).data

    def patch(self, path: str, *operations: dict[str, Any], status: int | None = None, **headers: str) -> Any:
        """The answer to these operations."""
        return self("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, status, **headers)

    def found(self, path: str, scim_filter: str, **query: str) -> list[str]:
        """The ids of what a filter finds."""
        search = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "filter": scim_filter} | query
        return [one["id"] for one in self("POST", f"{path}/.search", search, 200).data["Resources"]]


def idp_of(tenant: Tenant) -> Idp:
    """A directory of the tenant, with a domain to bring people from."""
    domain = own(tenant)
    with scope(tenant.organization):
        Organization.objects.update(member_limit=1_000)
    return Idp(tenant, *connected(tenant), domain)


@pytest.fixture
def idp(tenant: Tenant) -> Idp:
    """An identity provider of the tenant."""
    return idp_of(tenant)


@pytest.fixture
def strange_idp(stranger: Tenant) -> Idp:
    """An identity provider of another organization."""
    return idp_of(stranger)


@pytest.fixture
def domain(tenant: Tenant) -> str:
    """The tenant's domain."""
    return own(tenant)


@pytest.fixture
def okta(tenant: Tenant) -> tuple[Directory, DirectoryPrincipal]:
    """The tenant's directory, at work."""
    return connected(tenant)[:2]


@pytest.fixture
def who(okta: tuple[Directory, DirectoryPrincipal]) -> DirectoryPrincipal:
    """The directory, acting."""
    return okta[1]


@pytest.fixture
def directory(okta: tuple[Directory, DirectoryPrincipal]) -> Directory:
    """The directory's row."""
    return okta[0]
