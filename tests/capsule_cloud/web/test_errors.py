"""The error pages."""

import uuid

from django.test import Client, RequestFactory

from capsule_cloud.web import errors


def test_an_unknown_address_is_a_page_of_ours(client: Client, db: None) -> None:
    answer = client.get("/nowhere/at/all/")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()
    assert "web/landing.css" in answer.content.decode()


def test_every_status_has_words_and_needs_no_database() -> None:
    request = RequestFactory().get("/")
    for status in (400, 403, 404, 429, 500):
        answer = errors.page(request, status)
        assert answer.status_code == status
        assert str(status) in answer.content.decode()


def test_too_many_attempts_are_a_page_of_ours(client: Client, db: None) -> None:
    visitor = Client(REMOTE_ADDR=f"10.1.{uuid.uuid4().int % 250}.{uuid.uuid4().int % 250}")
    wanted = {"email": f"nobody-{uuid.uuid4().hex}@example.com"}
    answers = [visitor.post("/account/password/reset/", wanted) for _ in range(6)]
    assert answers[-1].status_code == 429
    assert "Slow down a little" in answers[-1].content.decode()
