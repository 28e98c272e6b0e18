"""Web pages may call the API when the key's project lists their origin."""

import pytest
from django.conf import settings
from django.test import Client

from tenancy import access
from tenancy.models import Project
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api

PAGE = "https://app.example.com"


def allow(api: Api, *origins: str) -> None:
    with scope(api.tenant.organization):
        Project.objects.filter(pk=api.tenant.project.pk).update(cors_origins=list(origins))
    access.reset_key_cache()


def test_a_preflight_is_answered_without_a_key_and_without_credentials(client: Client) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = client.options("/api/v1/sessions", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "Idempotency-Key" in answer.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert answer.headers["Vary"] == "Origin"


def test_a_listed_origin_may_read_the_answer(api: Api) -> None:
    allow(api, PAGE)
    answer = api.get("/v1/organization", Origin=PAGE)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]


def test_a_star_lists_every_origin(api: Api) -> None:
    allow(api, "*")
    assert api.get("/v1/organization", Origin=PAGE).status_code == 200


def test_our_own_pages_need_no_listing(api: Api) -> None:
    assert api.get("/v1/organization", Origin=settings.PUBLIC_URL).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://app.example.com.evil.example"])
def test_another_origin_is_refused_before_anything_happens(api: Api, origin: str) -> None:
    allow(api, PAGE)
    answer = api.patch("/v1/organization", {"name": "Taken over"}, Origin=origin)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert api.get("/v1/organization").json()["name"] != "Taken over"


def test_a_program_without_an_origin_is_no_page(api: Api) -> None:
    answer = api.get("/v1/organization")
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers
