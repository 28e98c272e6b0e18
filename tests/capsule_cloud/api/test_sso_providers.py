"""Identity providers over the API: both protocols, what comes back and what never does, and nobody else's."""

from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.saml import fetching
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.web.sso_things import identity_provider, put_provider
from tests.factories import Tenant, make_tenant
from tests.tenancy.sso.saml.conftest import own

PATH = "/v1/sso/providers"
OPENID = {"name": "Entra", "protocol": "oidc", "issuer": "https://login.example.com/t/v2.0", "client_id": "abc"}
SECRET = "s3cret-of-acme"  # a test's


def saml(**more: Any) -> dict[str, Any]:
    return {"name": "Okta", "protocol": "saml", "metadata": identity_provider().metadata()} | more


def create(api: Api, body: dict[str, Any], **headers: str) -> Any:
    answer = api.post(PATH, body, **headers)
    assert answer.status_code == 201, answer.content
    return answer.json()


def problem(answer: Any) -> tuple[int, str, list[str]]:
    said = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, said["code"], [one["field"] for one in said.get("errors", [])]


def test_a_saml_provider_comes_with_what_to_copy_to_its_side(api: Api, settings: Any) -> None:
    made = create(api, saml(is_unsolicited_allowed=True))
    ours = f"{settings.PUBLIC_URL}/sso/saml/{made['id']}"
    assert (made["state"], made["tested_at"], made["entity_id"]) == ("draft", None, identity_provider().entity_id)
    assert (made["ours"]["acs_url"], made["ours"]["entity_id"]) == (f"{ours}/acs/", f"{ours}/metadata/")
    assert (made["ours"]["redirect_uri"], made["is_unsolicited_allowed"]) == ("", True)
    assert made["signing_certificate_expires_at"] > timezone.now().isoformat()
    assert api.get(f"{PATH}/{made['id']}").json() == made
    assert api.get(PATH).json() == {"data": [made], "next_cursor": None}


def test_an_openid_provider_s_secret_never_comes_back(api: Api, tenant: Tenant) -> None:
    made = create(api, OPENID | {"client_secret": SECRET, "more_scopes": "groups"})
    assert made["has_client_secret"]
    assert made["ours"]["redirect_uri"].endswith(f"/sso/oidc/{made['id']}/callback/")
    changed = api.patch(f"{PATH}/{made['id']}", {"client_id": "def", "default_role": "member"})
    assert (changed.json()["client_id"], changed.json()["has_client_secret"]) == ("def", True)
    assert changed.json()["more_scopes"] == "groups"
    everything = str(made) + api.get(PATH).content.decode() + changed.content.decode()
    assert SECRET not in everything
    with scope(tenant.organization):
        assert SECRET.encode() not in bytes(IdentityProvider.objects.get().client_secret or b"")


def test_metadata_is_read_at_its_address_and_a_failure_is_the_field_s(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def fetch(url: str, certificate: str) -> str:
        if not found:
            raise fetching.Unfetched("The address answered with the status 404 instead of metadata.")
        return found[0]

    monkeypatch.setattr(fetching, "fetch", fetch)
    wanted = {"name": "Okta", "protocol": "saml", "metadata_url": "https://idp.example.com/metadata"}
    assert problem(api.post(PATH, wanted)) == (422, "invalid", ["metadata_url"])
    found.append(identity_provider().metadata())
    made = create(api, wanted)
    assert (made["metadata_url"], made["metadata_failure"]) == (wanted["metadata_url"], "")
    path = f"{PATH}/{made['id']}"
    assert api.patch(path, {"name": "Okta EU"}).json()["metadata_url"] == wanted["metadata_url"]
    assert api.patch(path, {"metadata": found[0]}).json()["metadata_url"] == ""


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"protocol": "saml", "name": "x"}, "metadata"),
        ({"protocol": "saml", "name": "x", "metadata": "<a/>", "metadata_url": "https://a.example"}, "metadata"),
        ({"protocol": "saml", "name": "x", "metadata": "<a/>"}, "metadata"),
        ({"protocol": "saml", "name": "x", "metadata": "<a/>", "client_id": "x"}, "client_id"),
        ({"protocol": "saml", "name": "x", "metadata_url": "http://169.254.169.254/"}, "metadata_url"),
        ({"protocol": "cas", "name": "x"}, "protocol"),
        ({"protocol": "saml", "metadata": "<a/>"}, "name"),
        ({"protocol": "oidc", "name": "x", "client_id": "x"}, "issuer"),
        ({"protocol": "oidc", "name": "x", "issuer": "https://a.example"}, "client_id"),
        ({"protocol": "oidc", "name": "x", "issuer": "http://10.0.0.1", "client_id": "x"}, "issuer"),
        ({"protocol": "oidc", "name": "x", "metadata": "<a/>"}, "metadata"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(api: Api, tenant: Tenant, body: dict[str, Any], field: str) -> None:
    assert problem(api.post(PATH, body)) == (422, "invalid", [field])
    with scope(tenant.organization):
        assert not IdentityProvider.objects.exists()


def test_a_provider_is_switched_on_once_it_was_tested_and_a_domain_is_there(api: Api, tenant: Tenant) -> None:
    path = f"{PATH}/{create(api, saml())['id']}"
    assert problem(api.patch(path, {"is_on": True}))[:2] == (409, "conflict")
    with scope(tenant.organization):
        IdentityProvider.objects.update(tested_at=timezone.now())
    own(tenant)
    assert api.patch(path, {"is_on": True}).json()["state"] == "active"
    with scope(tenant.organization):
        Organization.objects.update(is_sso_required=True)
    for refused in (api.patch(path, {"is_on": False}), api.delete(path)):
        assert problem(refused)[:2] == (409, "conflict")
    with scope(tenant.organization):
        Organization.objects.update(is_sso_required=False)
    assert api.patch(path, {"is_on": False}).json()["state"] == "off"
    assert (api.delete(path).status_code, api.get(path).status_code) == (204, 404)


def test_what_sign_in_depends_on_wants_a_new_test_and_owners_are_nobody_s_to_make(api: Api, tenant: Tenant) -> None:
    made = create(api, saml())
    with scope(tenant.organization):
        IdentityProvider.objects.update(tested_at=timezone.now())
    path = f"{PATH}/{made['id']}"
    assert api.patch(path, {}).json()["tested_at"]
    changed = api.patch(path, {"email_attribute": "mail", "name_attribute": "cn"}).json()
    assert (changed["email_attribute"], changed["name_attribute"], changed["tested_at"]) == ("mail", "cn", None)
    assert problem(api.patch(path, {"default_role": "owner"}))[:2] == (403, "forbidden")
    assert problem(api.patch(path, {"issuer": "https://a.example"})) == (422, "invalid", ["issuer"])


def test_the_same_post_twice_adds_one(api: Api, tenant: Tenant) -> None:
    key = str(uuid4())
    first = create(api, saml(), **{"Idempotency-Key": key})
    assert create(api, saml(), **{"Idempotency-Key": key}) == first
    with scope(tenant.organization):
        assert IdentityProvider.objects.count() == 1


def test_sign_ins_say_who_came_and_why_not_a_page_at_a_time(api: Api, tenant: Tenant) -> None:
    provider, now = put_provider(tenant), timezone.now()
    with scope(tenant.organization):
        for number in range(3):
            SignIn.objects.create(
                provider=provider, provider_version=1, state="done", email=f"no{number}@acme.com", expires_at=now
            )
        SignIn.objects.create(
            provider=provider, provider_version=1, state="refused", code="audience", detail="x", expires_at=now
        )
    path = f"{PATH}/{provider.pk}/sign-ins"
    first = api.get(f"{path}?limit=2").json()
    assert [one["code"] for one in first["data"]] == ["audience", ""]
    assert "letter for letter" in first["data"][0]["remedy"]
    second = api.get(f"{path}?limit=2&cursor={first['next_cursor']}").json()
    assert ([one["email"] for one in second["data"]], second["next_cursor"]) == (["no1@acme.com", "no0@acme.com"], None)
    assert len(api.get(f"{path}?state=done").json()["data"]) == 3
    assert len(api.get(f"{path}?code=audience").json()["data"]) == 1
    assert problem(api.get(f"{path}?state=x")) == (422, "invalid", ["state"])
    assert problem(api.get(f"{path}?cursor=x"))[:2] == (400, "invalid_cursor")


def test_another_organization_s_provider_is_no_provider(api: Api) -> None:
    theirs = f"{PATH}/{create(Api(make_tenant()), saml())['id']}"
    assert api.get(PATH).json()["data"] == []
    for answer in (
        api.get(theirs),
        api.patch(theirs, {"name": "x"}),
        api.delete(theirs),
        api.get(f"{theirs}/sign-ins"),
    ):
        assert problem(answer)[:2] == (404, "not_found")
