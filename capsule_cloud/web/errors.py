"""The error pages: the same design, no database, no surprises."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

_TEXTS = {
    400: (
        "That request made no sense to us",
        "Something in the address or the form was malformed. Go back and try again.",
    ),
    403: (
        "You may not do that",
        "Your role in this organization does not allow it, or the page was open too long. Ask an admin, or reload.",
    ),
    404: ("There is nothing here", "The address is wrong, the thing is gone, or it belongs to somebody else."),
    429: ("Slow down a little", "There were too many attempts from here. Wait a few minutes, then try again."),
    500: (
        "We broke something",
        "The error is in our log with its request id, and we are told about it. Nothing of yours was changed.",
    ),
}


def page(request: HttpRequest, status: int) -> HttpResponse:
    """The error page of a status."""
    title, text = _TEXTS[status]
    return render(
        request, "web/error.html", {"status": status, "error_title": title, "error_text": text}, status=status
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400."""
    return page(request, 400)


def forbidden(request: HttpRequest, exception: Exception | None = None, **_: Any) -> HttpResponse:
    """403; also what a failed CSRF check shows."""
    return page(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: missing and somebody else's look the same."""
    return page(request, 404)


def too_many(request: HttpRequest) -> HttpResponse:
    """429."""
    return page(request, 429)


def server_error(request: HttpRequest) -> HttpResponse:
    """500."""
    return page(request, 500)
