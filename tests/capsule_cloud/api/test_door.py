"""The door: request ids, keys, shapes of errors, and nothing but answers for broken requests."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tenancy import access
from tenancy.audit.models import AuditEvent
from tenancy.models import ApiKey
from tenancy.scope import scope
from tenancy.services import keys, organizations
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant


def test_every_answer_has_a_request_id_of_its_own(api: Api) -> None:
    ids = [
        api.get(path).headers["X-Request-Id"] for path in ("/health", "/v1/organization", "/v1/nothing", "/api/v1/x")
    ]
    assert len(set(ids)) == 4
    assert all(len(one) == 32 for one in ids)


def test_health_answers_without_a_key_and_without_a_query(client: Client) -> None:
    answer = client.get("/health")
    assert answer.json() == {"status": "ok", "version": "0.1.1"}


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer x", "Basic Zm9v", "Bearer ключ", "Bearer cmk_" + "0" * 38, "Bearer \x00"]
)
def test_whatever_is_no_key_of_ours_is_refused_alike(client: Client, authorization: str) -> None:
    # as a server hands it over: the header's bytes, read as Latin-1
    raw = authorization.encode().decode("latin-1")
    answer = client.get("/v1/organization", HTTP_AUTHORIZATION=raw)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["code"] == "unauthenticated"
    assert client.get("/api/v1/capsules", HTTP_AUTHORIZATION=raw).json() == {"detail": "Invalid or missing API key"}


def test_a_problem_says_its_code_and_its_request_id(api: Api) -> None:
    answer = api.get("/v1/nothing")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Not Found",
        "code": "not_found",
        "request_id": answer.headers["X-Request-Id"],
    }


def test_the_engines_routes_answer_errors_as_the_engine_does(api: Api) -> None:
    answer = api.get("/api/v1/nothing")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert answer.headers["Content-Type"] == "application/json"


def test_a_revoked_key_an_expired_key_and_a_closed_organization_are_all_strangers(api: Api) -> None:
    with scope(api.tenant.organization):
        maker = keys.Maker(api.tenant.actor, parent_id=api.tenant.key.pk)
        made = [
            keys.create(maker=maker, project_id=api.tenant.project.pk, name=name, scopes=["org:read"])
            for name in ("revoked", "expired")
        ]
        keys.revoke(actor=api.tenant.actor, key_id=made[0].key.pk)
        ApiKey.objects.filter(pk=made[1].key.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    for one in made:
        assert api.get("/v1/organization", Authorization=f"Bearer {one.secret}").status_code == 401
    with scope(api.tenant.organization):
        organizations.close(actor=api.tenant.actor)
    access.reset_key_cache()
    assert api.get("/v1/organization").status_code == 401


def test_a_key_works_only_from_its_networks(api: Api) -> None:
    with scope(api.tenant.organization):
        ApiKey.objects.filter(pk=api.tenant.key.pk).update(allowed_cidrs=["203.0.113.0/24"])
    access.reset_key_cache()
    assert api.get("/v1/organization").json()["code"] == "address_not_allowed"


def test_a_key_without_the_scope_is_told_which_one_it_lacks(db: None) -> None:
    api = Api(make_tenant(["memory:read"]))
    answer = api.get("/v1/organization")
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert "org:read" in answer.json()["detail"]
    answer = api.post("/api/v1/sessions")
    assert (answer.status_code, answer.json()) == (403, {"detail": "This key lacks the scope memory:write."})


def test_a_wrong_method_names_the_right_ones(api: Api) -> None:
    answer = api.delete("/v1/organization")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "PATCH"}
    answer = api("PUT", "/api/v1/sessions")
    assert (answer.status_code, answer.json(), answer.headers["Allow"]) == (
        405,
        {"detail": "Method Not Allowed"},
        "POST",
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[1]", b'"text"', b"[" * 100_000, b'{"name": NaN}', b'{"name": "\\ud800"}', b"null"],
    ids=lambda body: repr(body[:16]),
)
@pytest.mark.parametrize(("method", "path"), [("PATCH", "/v1/organization"), ("POST", "/api/v1/sessions/s/ingest")])
def test_a_body_that_is_no_json_object_is_a_clear_refusal(api: Api, method: str, path: str, body: bytes) -> None:
    answer = api(method, path, body)
    if path.startswith("/v1") and body == b"":
        assert answer.status_code == 200  # nothing to change
        return
    assert answer.status_code in {400, 422}
    assert answer.json()["detail"]


def test_a_body_over_the_limit_is_refused_unread(api: Api) -> None:
    answer = api.post("/api/v1/sessions/s/ingest", b"x" * (12 * 2**20 + 1))
    assert answer.status_code == 413


def test_an_unexpected_failure_is_a_500_with_its_request_id_in_answer_and_log(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**kwargs: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(organizations, "update", fail)
    with caplog.at_level(logging.ERROR, logger="api"):
        answer = api.patch("/v1/organization", {"name": "New"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret detail" not in answer.content.decode()
    assert answer.headers["X-Request-Id"] in caplog.text


def test_the_audit_trail_knows_the_request(api: Api) -> None:
    answer = api.patch("/v1/organization", {"name": "Renamed"}, User_Agent="probe/1")
    with scope(api.tenant.organization):
        event = AuditEvent.objects.get(action="organization.updated")
    where = {"request_id": answer.headers["X-Request-Id"], "ip": "127.0.0.1", "user_agent": "probe/1"}
    assert event.context == where | {"session_id": ""}
    assert event.actor["id"] == str(api.tenant.key.pk)


def test_a_stranger_finds_nothing_of_ours(api: Api, stranger: Tenant) -> None:
    answer = Api(stranger).get(f"/v1/projects/{api.tenant.project.pk}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_key_sent_in_the_clear_is_refused_where_https_is_served(api: Api, settings: Any) -> None:
    settings.IS_HTTPS, settings.SECURE_HSTS_SECONDS = True, 3600
    answer = api.get("/v1/organization")
    assert (answer.status_code, answer.json()["code"]) == (403, "https_required")
    assert answer.headers["Strict-Transport-Security"] == "max-age=3600; includeSubDomains"
    assert api.get("/health").status_code == 200
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert api.get("/v1/organization", X_Forwarded_Proto="https").status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/capsules?user_id=%FF", "/v1/projects?cursor=%C3%28"])
def test_an_address_that_is_not_utf8_is_refused(api: Api, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.json()["detail"]) == (400, "The address is not UTF-8.")
