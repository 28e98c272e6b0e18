"""Many requests at the same moment, to several processes: limits hold, and what happens once happens once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tenancy.scope import scope
from tenancy.selectors import organization, projects
from tests.capsule_cloud.memory.capsules_for_tests import memory
from tests.factories import Tenant
from tests.live import LiveServer

AT_ONCE = 8
Ask = Callable[..., list[httpx.Response]]


@pytest.fixture
def ask(live: LiveServer, live_tenant: Tenant) -> Ask:
    """Sends a request many times at once, each on a connection of its own; `number` makes its options different."""

    def once(method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        headers = live_tenant.headers | options.pop("headers", {})
        with httpx.Client(base_url=live.url, timeout=60) as client:
            return client.request(method, path, headers=headers, **options)

    def many(method: str, path: str, options: Callable[[int], dict[str, Any]]) -> list[httpx.Response]:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(lambda number: once(method, path, options(number)), range(2 * AT_ONCE)))

    return many


def test_one_idempotency_key_has_one_effect(ask: Ask, live_tenant: Tenant) -> None:
    answers = ask("POST", "/v1/projects", lambda _: {"json": {"name": "Once"}, "headers": {"Idempotency-Key": "k"}})
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    with scope(live_tenant.organization):
        assert len([one for one in projects() if one.name == "Once"]) == 1


def test_a_plans_limit_is_not_outrun(ask: Ask, live_tenant: Tenant) -> None:
    answers = ask("POST", "/v1/projects", lambda number: {"json": {"name": f"Project {number}"}})
    assert {answer.status_code for answer in answers} == {201, 403}
    with scope(live_tenant.organization):
        assert len(projects()) == organization().project_limit


def test_one_id_imported_for_many_end_users_is_the_firsts_alone(ask: Ask) -> None:
    file = memory("drinks green tea").to_json().encode()
    path = "/api/v1/capsules/import"
    answers = ask("POST", path, lambda number: {"files": {"file": ("c.json", file)}, "data": {"user_id": str(number)}})
    made = [answer.json() for answer in answers]
    assert [one["is_renamed"] for one in made].count(False) == 1
    assert len({one["capsule_id"] for one in made}) == len(made)


def test_turns_of_all_processes_get_numbers_without_a_gap_and_one_capsule(ask: Ask) -> None:
    path = "/api/v1/sessions/together"
    turns = ask("POST", f"{path}/ingest", lambda n: {"json": {"user_message": str(n), "assistant_response": "Noted"}})
    assert sorted(turn.json()["turn_id"] for turn in turns) == list(range(1, 4 * AT_ONCE, 2))
    sealed = ask("POST", f"{path}/seal", lambda _: {"json": {}})
    assert len({answer.json()["capsule_id"] for answer in sealed}) == 1
    assert {answer.json()["turn_count"] for answer in sealed} == {4 * AT_ONCE}
