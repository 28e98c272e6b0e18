"""The whole way with a certified OpenID provider: its tokens, its ways to know us, its own idea of a sign-in."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest
from django.test import Client

from capsule_cloud.lib import http
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, VerifiedDomain
from tenancy.sso.oidc import outgoing, services
from tests.factories import Tenant
from tests.openid_provider import OpenIdPeer, PeerClient
from tests.tenancy.sso.oidc.conftest import trace

DOMAIN = f"acme-{uuid.uuid4().hex[:12]}.com"
ADA, EVE = f"ada@{DOMAIN}", f"eve@{DOMAIN}"
OURS = "http://testserver"
CLIENTS = [
    PeerClient(OURS, "client_secret_basic", "RS256"),
    PeerClient(OURS, "client_secret_post", "PS256"),
    PeerClient(OURS, "none", "ES256"),
    PeerClient(OURS, "client_secret_basic", "EdDSA"),
]


@pytest.fixture(scope="module")
def peer() -> Iterator[OpenIdPeer]:
    """The provider, with somebody whose address is verified, and somebody whose is not."""
    people = {ADA: {"name": "Ada", "email_verified": True}, EVE: {"name": "Eve", "email_verified": False}}
    with OpenIdPeer(CLIENTS, people) as peer:
        yield peer


@pytest.fixture(scope="module")
def own_door() -> Iterator[http.Door]:
    """A door whose connections end with these tests."""
    with closing(http.Door()) as door:
        yield door


@pytest.fixture(autouse=True)
def _door(monkeypatch: pytest.MonkeyPatch, own_door: http.Door) -> None:
    monkeypatch.setattr(outgoing, "door", lambda: own_door)


def row_of(tenant: Tenant, peer: OpenIdPeer, client: PeerClient) -> IdentityProvider:
    """The provider's row, in use."""
    with scope(tenant.organization):
        VerifiedDomain.objects.create(domain=DOMAIN, token=uuid.uuid4().hex, state="verified")
        row = services.add(
            actor=tenant.actor,
            name="Peer",
            issuer=peer.issuer,
            client_id=f"client:{client.provider_id}",
            client_secret=client.secret,
            token_auth_method=client.method,
            provider_id=client.provider_id,
        )
        IdentityProvider.objects.update(state="active")
    return row


def go(ours: Client, theirs: httpx.Client, peer: OpenIdPeer, row: IdentityProvider, address: str) -> str:
    """To the provider and back; where that leads."""
    away = ours.get(f"/sso/oidc/{row.pk}/login/")["Location"]
    back = urlsplit(peer.log_in(theirs, away, address))
    assert back.path == f"/sso/oidc/{row.pk}/callback/"
    answer = ours.get(f"{back.path}?{back.query}")
    return answer.get("Location") or answer.content.decode()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: f"{client.method}-{client.algorithm}")
def test_somebody_signs_in_by_it(tenant: Tenant, peer: OpenIdPeer, client: PeerClient) -> None:
    row, ours = row_of(tenant, peer, client), Client()
    with httpx.Client(base_url=peer.issuer) as theirs:
        assert go(ours, theirs, peer, row, ADA) == "/"
        kept = trace(tenant)
        assert (kept.state, kept.subject, kept.email) == ("done", ADA, ADA)
        assert kept.session_index  # its own session, by which it will sign the person out
        assert go(Client(), theirs, peer, row, "nobody is asked") == "/"  # the provider knows the browser
    with httpx.Client(base_url=peer.issuer) as theirs:
        assert "<code>email_unverified</code>" in go(Client(), theirs, peer, row, EVE)


def test_it_asks_anew_where_a_session_goes_on(tenant: Tenant, peer: OpenIdPeer) -> None:
    row, ours = row_of(tenant, peer, CLIENTS[0]), Client()
    with httpx.Client(base_url=peer.issuer) as theirs:
        go(ours, theirs, peer, row, ADA)
        away = ours.get(f"/sso/oidc/{row.pk}/login/")["Location"]
        answer = theirs.get(away)
        assert "/interaction/" in answer.headers["Location"]  # although it knows the browser
        back = urlsplit(peer.log_in(theirs, away, ADA))
    assert ours.get(f"{back.path}?{back.query}")["Location"] == "/"
    assert ours.session["account_authentication_methods"][-1]["reauthenticated"]
