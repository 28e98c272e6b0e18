"""A POST with an `Idempotency-Key` happens once."""

from datetime import timedelta
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from capsule_cloud.api import idempotency, tasks
from capsule_cloud.api.models import IdempotencyKey
from tenancy.models import ApiKey, Project
from tenancy.scope import scope
from tenancy.services import projects
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant


def count_projects(tenant: Tenant) -> int:
    with scope(tenant.organization):
        return Project.objects.count()


def test_the_same_request_again_gets_the_same_answer_and_does_nothing(api: Api) -> None:
    first, second = (api.post("/v1/projects", {"name": "Once"}, Idempotency_Key="a") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert count_projects(api.tenant) == 2


def test_the_engines_routes_too_happen_once(api: Api) -> None:
    turn = {"user_message": "I like tea", "assistant_response": "Noted"}
    answers = [api.post("/api/v1/sessions/once/ingest", turn, Idempotency_Key="b").json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["total_turns"] == 2


def test_the_same_form_again_is_the_same_request(api: Api) -> None:
    def upload(content: bytes, boundary: str) -> Any:
        form = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="n.txt"\r\n\r\n'.encode()
        return api.client.generic(
            "POST",
            "/api/v1/capsules/import",
            form + content + f"\r\n--{boundary}--\r\n".encode(),
            content_type=f"multipart/form-data; boundary={boundary}",
            headers=api.tenant.headers | {"Idempotency-Key": "form"},
        )

    first, second = upload(b"My note", "aaaa1111"), upload(b"My note", "bbbb2222")
    assert first.status_code == 200
    assert second.headers["Idempotent-Replayed"] == "true"
    assert upload(b"Another note", "cccc3333").status_code == 422
    assert len(api.get("/api/v1/capsules").json()) == 1


def test_another_request_under_the_same_key_is_refused(api: Api) -> None:
    api.post("/v1/projects", {"name": "One"}, Idempotency_Key="c")
    for path, body in (("/v1/projects", {"name": "Two"}), ("/v1/invitations", {"name": "One"})):
        answer = api.post(path, body, Idempotency_Key="c")
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_a_refused_request_leaves_nothing_and_may_be_corrected(api: Api) -> None:
    answer = api.post("/v1/projects", {"name": ""}, Idempotency_Key="d")
    assert answer.status_code == 422
    assert api.post("/v1/projects", {"name": "Better"}, Idempotency_Key="d").status_code == 201


def test_a_crash_leaves_neither_effect_nor_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    create = projects.create

    def crash(**kwargs: Any) -> Any:
        create(**kwargs)
        raise ZeroDivisionError

    monkeypatch.setattr(projects, "create", crash)
    assert api.post("/v1/projects", {"name": "Twice"}, Idempotency_Key="e").status_code == 500
    assert count_projects(api.tenant) == 1
    monkeypatch.undo()
    assert api.post("/v1/projects", {"name": "Twice"}, Idempotency_Key="e").status_code == 201


def test_a_stored_answer_does_not_show_the_new_key_that_it_holds(api: Api) -> None:
    body = {"name": "Child", "scopes": ["memory:read"]}
    secret = api.post("/v1/keys", body, Idempotency_Key="f").json()["secret"]
    with scope(api.tenant.organization):
        stored = IdempotencyKey.objects.get(name="f")
        assert ApiKey.objects.count() == 2
    assert secret.encode() not in bytes(stored.sealed_answer)
    assert api.post("/v1/keys", body, Idempotency_Key="f").json()["secret"] == secret


def test_another_key_has_names_of_its_own(api: Api, stranger: Tenant) -> None:
    api.post("/v1/projects", {"name": "Mine"}, Idempotency_Key="g")
    answer = Api(stranger).post("/v1/projects", {"name": "Mine"}, Idempotency_Key="g")
    assert answer.status_code == 201
    assert "Idempotent-Replayed" not in answer.headers


def test_a_right_that_is_gone_is_not_answered_from_memory(api: Api, db: None) -> None:
    body = {"name": "Child", "scopes": ["memory:read"]}
    reader = Api(make_tenant(["org:read"]))
    api.post("/v1/keys", body, Idempotency_Key="h")
    assert reader.post("/v1/keys", body, Idempotency_Key="h").status_code == 403


@pytest.mark.parametrize("name", ["", " ", "a" * 256, "naïve", "a\tb"])
def test_a_name_that_is_no_plain_text_is_refused(api: Api, name: str) -> None:
    answer = api.post("/v1/projects", {"name": "X"}, Idempotency_Key=name)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


def test_after_a_day_the_key_is_free_again_and_the_answer_is_gone(api: Api) -> None:
    api.post("/v1/projects", {"name": "Early"}, Idempotency_Key="i")
    api.post("/v1/projects", {"name": "Early too"}, Idempotency_Key="j")
    with scope(api.tenant.organization):
        IdempotencyKey.objects.update(created_at=timezone.now() - idempotency.KEPT - timedelta(seconds=1))
    answer = api.post("/v1/projects", {"name": "Late"}, Idempotency_Key="i")
    assert answer.status_code == 201
    assert "Idempotent-Replayed" not in answer.headers
    tasks.purge_idempotency_keys()
    with scope(api.tenant.organization):
        assert [one.name for one in IdempotencyKey.objects.all()] == ["i"]


@pytest.fixture
def committed(transactional_db: None) -> Tenant:
    """A tenant that other connections see."""
    return make_tenant()


def test_while_the_first_is_at_work_the_second_is_told_to_wait(
    committed: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, is_inside, may_go_on = projects.create, Event(), Event()

    def slow(**kwargs: Any) -> Any:
        is_inside.set()
        assert may_go_on.wait(20)
        return create(**kwargs)

    monkeypatch.setattr(projects, "create", slow)
    answers: list[Any] = []

    def first() -> None:
        answers.append(Api(committed).post("/v1/projects", {"name": "Slow"}, Idempotency_Key="k"))
        connection.close()

    thread = Thread(target=first)
    thread.start()
    assert is_inside.wait(20)
    second = Api(committed).post("/v1/projects", {"name": "Slow"}, Idempotency_Key="k")
    may_go_on.set()
    thread.join()
    assert (second.status_code, second.json()["code"]) == (409, "request_in_flight")
    assert second.headers["Retry-After"] == "1"
    assert answers[0].status_code == 201
    third = Api(committed).post("/v1/projects", {"name": "Slow"}, Idempotency_Key="k")
    assert third.headers["Idempotent-Replayed"] == "true"
    assert count_projects(committed) == 2
