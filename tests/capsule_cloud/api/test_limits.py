"""Requests are counted by the minute, for each key and organization, without asking Valkey for each."""

import logging
import uuid
from dataclasses import replace

import pytest
from django.conf import settings

from capsule_cloud.api import door, limits
from tenancy import access
from tenancy.access import KeyPrincipal
from tenancy.models import ApiKey, Organization
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant


@pytest.fixture
def principal(tenant: Tenant) -> KeyPrincipal:
    """A principal whose counters nobody else touches."""
    return replace(tenant.principal, key_id=uuid.uuid4(), organization_id=uuid.uuid4())


@pytest.fixture(autouse=True)
def _still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one minute."""
    monkeypatch.setattr("time.time", lambda: 1_900_000_025.0)


def test_every_answer_says_what_is_left(api: Api) -> None:
    with scope(api.tenant.organization):
        Organization.objects.update(requests_per_minute=100)
    access.reset_key_cache()
    answers = [api.get("/v1/organization"), api.get("/v1/nothing"), api.get("/api/v1/capsules?limit=0")]
    assert [answer.headers["X-RateLimit-Limit"] for answer in answers] == ["100"] * 3
    remaining = [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers]
    assert remaining[0] > remaining[2] > 0
    assert 1 <= int(answers[0].headers["X-RateLimit-Reset"]) <= 60


def test_a_request_too_many_is_told_when_to_come_back(api: Api) -> None:
    with scope(api.tenant.organization):
        ApiKey.objects.filter(pk=api.tenant.key.pk).update(requests_per_minute=3)
    access.reset_key_cache()
    answers = [api.get("/v1/organization") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["X-RateLimit-Limit"] == "3"
    assert answers[3].headers["X-RateLimit-Remaining"] == "0"
    assert answers[3].headers["Retry-After"] == answers[3].headers["X-RateLimit-Reset"]
    assert answers[3].json()["code"] == "rate_limited"


def test_two_processes_together_serve_exactly_the_limit(principal: KeyPrincipal) -> None:
    principal = replace(principal, organization_requests_per_minute=1000)
    processes = [limits.Limiter(settings.CACHE_URL) for _ in range(2)]
    served = sum(processes[n % 2].take(principal).remaining >= 0 for n in range(1100))
    assert served == 1000


def test_the_keys_of_one_organization_share_its_limit(principal: KeyPrincipal) -> None:
    principal = replace(principal, organization_requests_per_minute=10)
    other = replace(principal, key_id=uuid.uuid4())
    limiter = limits.Limiter(settings.CACHE_URL)
    assert sum(limiter.take(one).remaining >= 0 for one in [principal, other] * 8) == 10


def test_the_excess_of_one_key_leaves_the_others_their_share(principal: KeyPrincipal) -> None:
    noisy = replace(principal, organization_requests_per_minute=10, key_requests_per_minute=2)
    quiet = replace(noisy, key_id=uuid.uuid4(), key_requests_per_minute=None)
    limiter = limits.Limiter(settings.CACHE_URL)
    assert sum(limiter.take(noisy).remaining >= 0 for _ in range(20)) == 2
    assert sum(limiter.take(quiet).remaining >= 0 for _ in range(20)) == 8


def test_a_new_minute_starts_anew(principal: KeyPrincipal, monkeypatch: pytest.MonkeyPatch) -> None:
    principal = replace(principal, organization_requests_per_minute=1)
    limiter = limits.Limiter(settings.CACHE_URL)
    assert [limiter.take(principal).remaining for _ in range(2)] == [0, -1]
    monkeypatch.setattr("time.time", lambda: 1_900_000_085.0)
    assert limiter.take(principal).remaining == 0


def test_without_valkey_everything_is_served_and_it_is_logged_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(door, "limiter", limits.Limiter("unix:///nowhere/valkey.sock"))
    with caplog.at_level(logging.WARNING, logger="api.limits"):
        assert [api.get("/v1/organization").status_code for _ in range(5)] == [200] * 5
    assert len([record for record in caplog.records if "limits.unavailable" in record.message]) == 1
