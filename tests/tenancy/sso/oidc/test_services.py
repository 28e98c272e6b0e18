"""OpenID providers: added, changed, asked what they are; by whom, in which limits, and what is told of it."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from capsule_cloud.lib import crypto
from tenancy.audit import actions
from tenancy.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import ExternalIdentity, IdentityProvider
from tenancy.sso.oidc import discovery, services
from tenancy.sso.providers import services as providers
from tenancy.sso.providers.reasons import Refused
from tests.factories import Tenant
from tests.identity_provider import SamlProvider
from tests.tenancy.sso.oidc.conftest import sent_away
from tests.tenancy.sso.oidc.issuer import SECRET, Issuer, json_answer
from tests.trail import audited

KEPT = (
    "name",
    "issuer",
    "more_scopes",
    "client_id",
    "token_auth_method",
    "email_attribute",
    "name_attribute",
    "default_role",
)
GOOD = {
    "name": "Entra ID",
    "issuer": "https://login.example.com/t/v2.0",
    "client_id": "capsule",
    "client_secret": SECRET,
}


def add(tenant: Tenant, **other: Any) -> IdentityProvider:
    """The provider, added by the owner."""
    with scope(tenant.organization):
        return services.add(actor=tenant.actor, **{**GOOD, **other})


def change(tenant: Tenant, row: IdentityProvider, *, by: Role = Role.OWNER, **other: Any) -> IdentityProvider:
    """The provider, changed in these fields alone."""
    with scope(tenant.organization):
        now = IdentityProvider.objects.get(pk=row.pk)
        wanted = {field: getattr(now, field) for field in KEPT} | {"client_secret": ""} | other
        return services.change(actor=tenant.actor, actor_role=by, provider_id=row.pk, **wanted)


def test_it_is_added_with_its_secret_sealed_and_hidden(tenant: Tenant) -> None:
    row = add(tenant, issuer=f"{GOOD['issuer']}{discovery.WELL_KNOWN}", name=" Entra ID ")
    assert (row.protocol, row.state, row.issuer, row.name) == ("oidc", "draft", GOOD["issuer"], "Entra ID")
    assert row.client_secret is not None
    assert crypto.unseal(row.client_secret) == SECRET.encode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('app.organization_id', %s, true)", [str(tenant.organization.pk)])
        cursor.execute("SELECT p::text FROM sso_identityprovider p WHERE id = %s", [row.pk])
        assert SECRET not in cursor.fetchall()[0][0]
    with scope(tenant.organization):
        [told] = audited(actions.PROVIDER_ADDED.name)
    assert told.changes["issuer"] == [None, GOOD["issuer"]]
    assert told.changes["client_secret"] == [None, "•••"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("issuer", one) for one in ("", "login", "http://login.example.com", "https://login.example.com/?a=b")],
        *[("issuer", one) for one in ("https://login.example.com/#x", "https://169.254.169.254/", "https://10.0.0.1/")],
        *[("issuer", one) for one in ("https://a:b@login.example.com/", f"https://login.example.com/{'x' * 512}")],
        *[("client_id", one) for one in ("", "x" * 256, "a\nb", "é")],
        *[("client_secret", one) for one in ("", "x" * 1025, "a\x00b")],
        ("token_auth_method", "private_key_jwt"),
        *[("more_scopes", one) for one in ('a"b', "é", f"{'x' * 200} {'y' * 56}")],
        ("name", ""),
    ],
)
def test_what_is_no_provider_is_refused(tenant: Tenant, field: str, value: str) -> None:
    with pytest.raises(Invalid) as refusal:
        add(tenant, **{field: value})
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "issuer", ["https://localhost:8443/", "http://127.0.0.1:8443/", "https://[::1]/", "https://a.localhost/"]
)
def test_an_issuer_on_this_machine_is_refused_in_production(tenant: Tenant, settings: Any, issuer: str) -> None:
    settings.EGRESS_LOOPBACK = False
    with pytest.raises(Invalid, match=r"does not lead to|must begin with https"):
        add(tenant, issuer=issuer)


def test_a_public_client_has_no_secret(tenant: Tenant) -> None:
    assert add(tenant, token_auth_method="none", client_secret="").client_secret is None
    with pytest.raises(Invalid, match="no secret"):
        add(tenant, token_auth_method="none")


def test_scopes_are_asked_for_beside_those_that_we_need(tenant: Tenant, row: IdentityProvider, issuer: Issuer) -> None:
    assert change(tenant, row, more_scopes=" groups  offline_access groups ").more_scopes == "groups offline_access"
    asked = sent_away(Client(), row)["scope"].split()
    assert sorted(asked) == ["email", "groups", "offline_access", "openid", "profile"]


def test_an_id_that_was_reserved_is_taken_once_and_there_are_ten_at_most(tenant: Tenant) -> None:
    reserved = uuid4()
    assert add(tenant, provider_id=reserved).pk == reserved
    with pytest.raises(Conflict):
        add(tenant, provider_id=reserved)
    with scope(tenant.organization):
        IdentityProvider.objects.bulk_create(IdentityProvider(name="x", key=b"") for _ in range(9))
    with pytest.raises(LimitReached):
        add(tenant)


def test_a_change_asks_for_a_new_test_and_keeps_the_secret_that_is_not_said_again(tenant: Tenant) -> None:
    row = add(tenant)
    with scope(tenant.organization):
        IdentityProvider.objects.update(tested_at=timezone.now(), discovered={}, discovered_at=timezone.now())
    kept = change(tenant, row)
    assert (kept.version, kept.tested_at is None) == (1, False)  # nothing was changed
    changed = change(tenant, row, client_id="other", email_attribute="upn", default_role="member")
    assert (changed.version, changed.tested_at, changed.discovered) == (2, None, None)
    assert changed.client_secret == row.client_secret
    renewed = change(tenant, row, client_secret="new")
    assert renewed.client_secret is not None
    assert crypto.unseal(renewed.client_secret) == b"new"
    assert change(tenant, row, token_auth_method="none").client_secret is None
    with scope(tenant.organization):
        told = [event.changes for event in audited(actions.PROVIDER_CHANGED.name)]
    assert [sorted(one) for one in told] == [
        ["client_id", "default_role", "email_attribute"],
        ["client_secret"],
        ["client_secret", "token_auth_method"],
    ]
    assert "new" not in str(told)


def test_another_issuer_makes_strangers_of_whoever_is_linked(tenant: Tenant) -> None:
    row = add(tenant)
    assert change(tenant, row, issuer="https://login.example.com/t/v3.0").issuer.endswith("v3.0")
    with scope(tenant.organization):
        ExternalIdentity.objects.create(provider=row, subject="x", user=tenant.owner)
    with pytest.raises(Conflict):
        change(tenant, row, issuer="https://login.example.com/t/v4.0")


def test_only_an_owner_makes_newcomers_owners_and_only_of_roles_that_are_there(tenant: Tenant) -> None:
    row = add(tenant)
    with pytest.raises(Forbidden):
        change(tenant, row, by=Role.ADMIN, default_role="owner")
    with pytest.raises(Invalid):
        change(tenant, row, default_role="king")


def test_services_of_one_protocol_do_not_know_providers_of_the_other(tenant: Tenant) -> None:
    row, saml = add(tenant), SamlProvider()
    with scope(tenant.organization):
        other = providers.add(actor=tenant.actor, name="Okta", metadata_xml=saml.metadata())
        wanted = {"name": "x", "email_attribute": "", "name_attribute": "", "default_role": "viewer"}
        with pytest.raises(NotFound):
            providers.change(
                actor=tenant.actor,
                actor_role=Role.OWNER,
                provider_id=row.pk,
                metadata_xml=saml.metadata(),
                is_unsolicited_allowed=False,
                **wanted,
            )
    with pytest.raises(NotFound):
        change(tenant, other)


def test_it_is_asked_what_it_is_and_the_answer_is_kept_for_a_while(
    tenant: Tenant, row: IdentityProvider, issuer: Issuer
) -> None:
    def ask() -> discovery.Json:
        return services.discover(organization_id=tenant.organization.pk, provider_id=row.pk)

    def again(age: timedelta) -> str:
        with scope(tenant.organization):
            IdentityProvider.objects.update(discovered_at=timezone.now() - age)
            now = IdentityProvider.objects.get(pk=row.pk)
        try:
            return str(discovery.document(now)["token_endpoint"]).rpartition("/")[2]
        except Refused as refusal:
            return refusal.code

    assert ask()["algorithms"] == ["RS256", "ES256", "EdDSA"]
    issuer.document["token_endpoint"] += "2"
    assert again(timedelta(minutes=59)) == "token"
    assert again(timedelta(minutes=61)) == "token2"
    issuer.answers[discovery.WELL_KNOWN] = lambda: json_answer({}, 503)
    assert again(timedelta(hours=23)) == "token2"  # while it is away
    assert again(timedelta(hours=25)) == "not_reachable"
    issuer.answers.clear()
    assert again(timedelta(hours=25)) == "not_reachable"  # a moment ago it was away
    assert ask()["token_endpoint"].endswith("token2")  # whoever has repaired it does not wait
