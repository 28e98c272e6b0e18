"""Domains over the API: what to write into DNS, what was found there, and nothing of anybody else's."""

from datetime import timedelta
from typing import Any

import pytest

from tenancy.scope import scope
from tenancy.sso.domains import selectors, services
from tenancy.sso.domains.evidence import REMEDIES
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant
from tests.tenancy.sso.conftest import let_pass, lost, name, zone
from tests.zones import Zone

__all__ = ["name", "zone"]


def create(api: Api, domain: str) -> Any:
    answer = api.post("/v1/sso/domains", {"domain": domain})
    assert answer.status_code == 201, answer.content
    return answer.json()


def test_a_domain_comes_with_the_record_that_proves_it(api: Api, name: str) -> None:
    made = create(api, name.upper())
    assert (made["domain"], made["state"], made["verified_at"], made["last_code"]) == (name, "pending", None, "")
    assert made["record"]["type"] == "TXT"
    assert made["record"]["name"] == f"_capsule-challenge.{name}"
    assert made["record"]["value"].startswith("capsule-domain-verification=")
    assert api.get(f"/v1/sso/domains/{made['id']}").json() == made
    assert api.get("/v1/sso/domains").json() == {"data": [made], "next_cursor": None}


def test_people_s_own_letters_are_shown_beside_dns_s(api: Api, name: str) -> None:
    made = create(api, f"bücher-{name}")
    assert (made["domain"][:4], made["shown"]) == ("xn--", f"bücher-{name}")
    assert made["record"]["name"] == f"_capsule-challenge.{made['domain']}"


@pytest.mark.parametrize("domain", ["gmail.com", "co.uk", "acme.local", "ada@acme.com", "*.acme.com", "x" * 300, ""])
def test_what_nobody_can_prove_is_refused(api: Api, domain: str) -> None:
    answer = api.post("/v1/sso/domains", {"domain": domain})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["domain"]


def test_a_domain_is_added_once(api: Api, name: str) -> None:
    create(api, name)
    again = api.post("/v1/sso/domains", {"domain": name})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


def test_a_check_says_what_is_there_and_what_helps_then_proves_the_domain(
    api: Api, tenant: Tenant, zone: Zone, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "WAIT", timedelta(hours=1))
    made = create(api, name)
    zone.texts[made["record"]["name"]] = ["v=spf1 -all"]
    path = f"/v1/sso/domains/{made['id']}"
    checked = api.post(f"{path}/check").json()
    assert (checked["state"], checked["last_code"], checked["last_seen"]) == (
        "pending",
        "other_values",
        ["v=spf1 -all"],
    )
    assert checked["remedy"] == REMEDIES["other_values"]
    soon = api.post(f"{path}/check")
    assert (soon.status_code, soon.json()["code"]) == (429, "rate_limited")
    assert 3500 < int(soon.headers["Retry-After"]) <= 3600
    zone.texts[made["record"]["name"]].append(made["record"]["value"])
    with scope(tenant.organization):
        let_pass(tenant, selectors.domain(made["id"]), services.WAIT)
    checked = api.post(f"{path}/check").json()
    assert (checked["state"], checked["last_code"], checked["remedy"]) == ("verified", "found", "")
    assert checked == api.get(path).json()


def test_a_lost_domain_says_since_when(api: Api, tenant: Tenant, zone: Zone, name: str) -> None:
    domain = lost(tenant, zone, name)
    shown = api.get(f"/v1/sso/domains/{domain.pk}").json()
    assert shown["state"] == "lost"
    assert shown["missing_since"] < shown["lost_at"]
    assert shown["verified_at"]


def test_a_removed_domain_is_gone(api: Api, name: str) -> None:
    path = f"/v1/sso/domains/{create(api, name)['id']}"
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.delete(path).status_code == 404


def test_another_organization_s_domain_is_no_domain(api: Api, zone: Zone, name: str) -> None:
    theirs = create(Api(make_tenant()), name)
    path = f"/v1/sso/domains/{theirs['id']}"
    assert api.get("/v1/sso/domains").json()["data"] == []
    assert {api.get(path).status_code, api.delete(path).status_code, api.post(f"{path}/check").status_code} == {404}
    assert not zone.asked
    assert create(api, name)["record"]["value"] != theirs["record"]["value"]
