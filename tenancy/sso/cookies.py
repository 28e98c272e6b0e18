"""Lets a browser keep something on its way to an identity provider and back."""

from datetime import timedelta

from django.conf import settings
from django.http import HttpResponse

PATH = "/sso/"  # the pages of setup, and the way to a provider and back


def keep(response: HttpResponse, name: str, value: str, age: timedelta) -> None:
    """Set a cookie that no script reads; Lax, as it comes back from the identity provider with the browser."""
    response.set_cookie(
        name,
        value,
        max_age=age,
        path=PATH,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
