"""Requests are counted by the minute, for each key and organization, without asking Valkey for each."""

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile

from capsule_cloud.api import limits
from capsule_cloud.lib.windows import WINDOW
from capsule_cloud.memory.engine import CapsuleCrypto
from tenancy import access
from tenancy.access import KeyPrincipal
from tenancy.models import ApiKey, Organization
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.api.things import make_things
from tests.factories import Tenant


@pytest.fixture
def principal(tenant: Tenant) -> KeyPrincipal:
    """A principal whose counters nobody else touches."""
    return replace(tenant.principal, key_id=uuid.uuid4(), organization_id=uuid.uuid4())


@pytest.fixture(autouse=True)
def _still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one minute: this one, because events are of now."""
    still = time.time() // WINDOW * WINDOW + 5
    monkeypatch.setattr("time.time", lambda: still)


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
    served = sum(not processes[n % 2].take(principal).is_refused for n in range(1100))
    assert served == 1000


def test_the_keys_of_one_organization_share_its_limit(principal: KeyPrincipal) -> None:
    principal = replace(principal, organization_requests_per_minute=10)
    other = replace(principal, key_id=uuid.uuid4())
    limiter = limits.Limiter(settings.CACHE_URL)
    assert sum(not limiter.take(one).is_refused for one in [principal, other] * 8) == 10


def test_the_excess_of_one_key_leaves_the_others_their_share(principal: KeyPrincipal) -> None:
    noisy = replace(principal, organization_requests_per_minute=10, key_requests_per_minute=2)
    quiet = replace(noisy, key_id=uuid.uuid4(), key_requests_per_minute=None)
    limiter = limits.Limiter(settings.CACHE_URL)
    assert sum(not limiter.take(noisy).is_refused for _ in range(20)) == 2
    assert sum(not limiter.take(quiet).is_refused for _ in range(20)) == 8


def test_a_heavy_request_is_counted_whole_or_not_at_all(principal: KeyPrincipal) -> None:
    principal = replace(principal, organization_requests_per_minute=1000, key_requests_per_minute=100)
    limiter = limits.Limiter(settings.CACHE_URL)
    assert [limiter.take(principal, 30).is_refused for _ in range(4)] == [False, False, False, True]
    assert limiter.take(principal, 11).remaining == 10  # of a refused request nothing was counted
    assert sum(not limiter.take(principal).is_refused for _ in range(20)) == 10


def test_heavy_and_light_requests_in_two_processes_stay_within_the_limit(principal: KeyPrincipal) -> None:
    principal = replace(principal, organization_requests_per_minute=1000)
    processes = [limits.Limiter(settings.CACHE_URL) for _ in range(2)]
    units = [30 if n % 3 == 0 else 1 for n in range(400)]
    taken = sum(much for n, much in enumerate(units) if not processes[n % 2].take(principal, much).is_refused)
    assert 970 < taken <= 1000


def test_a_new_minute_starts_anew(principal: KeyPrincipal, monkeypatch: pytest.MonkeyPatch) -> None:
    principal = replace(principal, organization_requests_per_minute=1)
    limiter = limits.Limiter(settings.CACHE_URL)
    assert [limiter.take(principal).is_refused for _ in range(2)] == [False, True]
    later = time.time() + WINDOW
    monkeypatch.setattr("time.time", lambda: later)
    assert not limiter.take(principal).is_refused


def test_without_valkey_everything_is_served_and_it_is_logged_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "limiter", limits.Limiter("unix:///nowhere/valkey.sock"))
    with caplog.at_level(logging.WARNING, logger="limits"):
        assert [api.get("/v1/organization").status_code for _ in range(5)] == [200] * 5
    assert len([record for record in caplog.records if "limits.unavailable" in record.message]) == 1


def limit_to(api: Api, requests: int) -> None:
    """Let the tenant's key make that many requests a minute."""
    with scope(api.tenant.organization):
        ApiKey.objects.filter(pk=api.tenant.key.pk).update(requests_per_minute=requests)
    access.reset_key_cache()


def remaining(answer: Any) -> int:
    return int(answer.headers["X-RateLimit-Remaining"])


def transfers(api: Api, passphrase: str) -> list[tuple[str, Callable[[], Any]]]:
    """The four ways to carry a capsule out and in; encrypted when there is a passphrase."""
    address = f"/api/v1/capsules/{make_things(api)['capsule_id']}/export"
    words = {"encrypt": "true", "passphrase": passphrase} if passphrase else {}
    file = api.get(f"{address}?{urlencode(words)}").content
    form = {"user_id": "ada", "passphrase": passphrase}

    def upload() -> Any:
        upload = SimpleUploadedFile("c.json", file)
        return api.client.post("/api/v1/capsules/import", form | {"file": upload}, headers=api.tenant.headers)

    def tool(name: str, **arguments: Any) -> Any:
        params = {"name": name, "arguments": arguments}
        return api.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})

    exported = {"capsule_id": address.split("/")[4], "format": "json", "encrypt": bool(passphrase)}
    return [
        ("export", lambda: api.get(f"{address}?{urlencode(words)}")),
        ("import", upload),
        ("export by mcp", lambda: tool("capsule_export", passphrase=passphrase, **exported)),
        ("import by mcp", lambda: tool("capsule_import", passphrase=passphrase, content=file.decode())),
    ]


@pytest.mark.parametrize(("passphrase", "weight"), [("", 1), ("correct horse", limits.ENCRYPTION_WEIGHT)])
def test_what_derives_a_key_from_a_passphrase_counts_as_thirty_requests(api: Api, passphrase: str, weight: int) -> None:
    ways = transfers(api, passphrase)
    limit_to(api, 1000)
    before = remaining(api.get("/v1/organization"))
    for name, carry in ways:
        answer = carry()
        assert answer.status_code == 200, name
        assert remaining(answer) == before - weight, name
        before = remaining(answer)


def test_it_is_refused_before_it_computes_and_says_what_is_left(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = transfers(api, "correct horse")
    limit_to(api, 40)
    for _ in range(30):
        api.get("/v1/organization")

    def never(*_: Any) -> None:
        raise AssertionError("A key was derived.")

    monkeypatch.setattr(CapsuleCrypto, "encrypt", never)
    monkeypatch.setattr(CapsuleCrypto, "decrypt", never)
    left = 10
    for name, carry in ways:
        answer = carry()
        left -= 1  # that the attempt itself counts as
        assert remaining(answer) == left, name
        if name.endswith("by mcp"):
            assert "rate_limited" in answer.json()["result"]["content"][0]["text"]
        else:
            assert answer.status_code == 429, name
            assert answer.headers["Retry-After"] == answer.headers["X-RateLimit-Reset"] == "55"
            assert answer.json()["detail"] == f"This counts as 29 requests more, and {left} remain this minute."
    assert api.get("/v1/organization").status_code == 200


def test_a_key_of_few_requests_may_use_its_whole_minute_for_it(api: Api) -> None:
    ways = dict(transfers(api, "correct horse"))
    limit_to(api, 5)
    assert [ways["export"]().status_code, ways["export"]().status_code] == [200, 429]


def test_a_batch_is_counted_before_any_of_it_is_done(api: Api) -> None:
    limit_to(api, 10)
    batch = [{"jsonrpc": "2.0", "id": n, "method": "ping"} for n in range(8)]
    answers = [api.post("/mcp", batch) for _ in range(2)]
    assert [(answer.status_code, remaining(answer)) for answer in answers] == [(200, 2), (429, 1)]
