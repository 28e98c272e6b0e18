"""Fixtures of the OpenID Connect tests: an issuer, its row with us, and a browser that goes to it and comes back."""

from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client

from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.oidc import outgoing, services
from tests.factories import Tenant
from tests.tenancy.sso.oidc.issuer import CLIENT, SECRET, Issuer
from tests.tenancy.sso.saml.conftest import own


class Doors:
    """In the place of the one door: each address leads to its issuer."""

    def __init__(self) -> None:
        self.issuers: list[Issuer] = []

    def send(self, method: str, url: str, **more: Any) -> Any:
        """The issuer's answer."""
        issuer = next(one for one in self.issuers if urlsplit(one.url).netloc == urlsplit(url).netloc)
        return issuer.send(method, url, **more)


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Doors:
    """Leads to no issuer yet."""
    made = Doors()
    monkeypatch.setattr(outgoing, "door", lambda: made)
    return made


@pytest.fixture
def issuer(doors: Doors) -> Issuer:
    """An issuer, and somebody who has an account there."""
    made = Issuer()
    doors.issuers.append(made)
    return made


@pytest.fixture
def domain(tenant: Tenant, issuer: Issuer) -> str:
    """The tenant's domain, in which that person is."""
    name = own(tenant)
    issuer.person |= {"email": f"ada@{name}", "name": "Ada"}
    return name


@pytest.fixture
def row(tenant: Tenant, issuer: Issuer, domain: str) -> IdentityProvider:
    """Its row, in use."""
    return connect(tenant, issuer)


def connect(tenant: Tenant, issuer: Issuer, method: str = "client_secret_basic", **more: Any) -> IdentityProvider:
    """The issuer's row, in use."""
    secret = "" if method == "none" else SECRET
    with scope(tenant.organization):
        row = services.add(
            actor=tenant.actor,
            name="Keycloak",
            issuer=issuer.url,
            client_id=CLIENT,
            client_secret=secret,
            token_auth_method=method,
        )
        IdentityProvider.objects.filter(pk=row.pk).update(state="active", **more)
        return IdentityProvider.objects.get(pk=row.pk)


def sent_away(client: Client, row: IdentityProvider, **query: str) -> dict[str, str]:
    """Ask to sign in; the parameters of the authorization request."""
    answer = client.get(f"/sso/oidc/{row.pk}/login/", query)
    assert answer.status_code == 302, answer.content
    address = urlsplit(answer["Location"])
    assert address.path.endswith("/authorize")
    return {name: values[0] for name, values in parse_qs(address.query).items()}


def come_back(
    client: Client, row: IdentityProvider, issuer: Issuer, asked: dict[str, str], **other: Any
) -> HttpResponse:
    """Bring the answer of the issuer; None leaves a parameter out."""
    said = {"code": issuer.code_for(asked), "state": asked["state"], "iss": issuer.url} | other
    sent = {name: value for name, value in said.items() if value is not None}
    return cast("HttpResponse", client.get(f"/sso/oidc/{row.pk}/callback/", sent))


def signed_in(client: Client, row: IdentityProvider, issuer: Issuer, **query: str) -> HttpResponse:
    """The whole way."""
    return come_back(client, row, issuer, sent_away(client, row, **query))


def trace(tenant: Tenant) -> SignIn:
    """The last answer."""
    with scope(tenant.organization):
        return SignIn.objects.select_related("user").latest("id")
