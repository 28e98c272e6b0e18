"""Every request has an id, and an address that its caller cannot choose."""

from typing import Any

import pytest
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from tenancy.audit.services import Context, current_context
from tenancy.middleware import RequestContextMiddleware, client_ip, request_context


def request(forwarded: str | None = None, **headers: str) -> HttpRequest:
    """A request from 10.0.0.1."""
    if forwarded is not None:
        headers["HTTP_X_FORWARDED_FOR"] = forwarded
    return RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", **headers)  # type: ignore[arg-type]  # headers are WSGI's


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, "10.0.0.1"),
        (0, "203.0.113.7", "10.0.0.1"),
        (1, None, "10.0.0.1"),
        (1, "", "10.0.0.1"),
        (1, "203.0.113.7", "203.0.113.7"),
        (1, "1.1.1.1, 203.0.113.7", "203.0.113.7"),
        (2, "1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        (2, "203.0.113.7", "10.0.0.1"),
        (1, " , 203.0.113.7 ,", "203.0.113.7"),
    ],
)
def test_only_our_own_proxies_say_where_a_caller_is(
    proxies: int, forwarded: str | None, address: str, settings: Any
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    assert client_ip(request(forwarded)) == address


def test_a_request_s_context_is_open_while_it_is_answered() -> None:
    def answer(request: HttpRequest) -> HttpResponse:
        origin = current_context()
        return HttpResponse(f"{origin.request_id} {origin.ip} {origin.user_agent}")

    response = RequestContextMiddleware(answer)(request(HTTP_USER_AGENT="u" * 400))
    request_id, ip, agent = response.content.decode().split()
    assert (ip, len(agent)) == ("10.0.0.1", 300)
    assert response["X-Request-Id"] == request_id
    assert len(request_id) == 32
    assert current_context().request_id == ""


def test_two_requests_have_two_ids() -> None:
    middleware = RequestContextMiddleware(lambda request: HttpResponse())
    assert len({middleware(request())["X-Request-Id"] for _ in range(5)}) == 5


@pytest.mark.django_db
def test_the_requests_of_a_session_share_a_name_that_is_not_its_key() -> None:
    def origin_of(session: SessionBase) -> Context:
        asked = request()
        asked.session = session
        return request_context(asked)

    one, other, nobody = SessionStore("a" * 32), SessionStore("b" * 32), SessionStore()
    names = [origin_of(session).session_id for session in (one, one, other, nobody)]
    assert names[0] == names[1] != names[2]
    assert "a" * 16 not in names[0]
    assert len(names[0]) == 16
    assert names[3] == request_context(request()).session_id == ""
