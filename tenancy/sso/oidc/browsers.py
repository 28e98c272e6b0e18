"""Lets a browser keep what it waits for at an OpenID provider: signed, sealed, for ten minutes, by its state."""

import json
import re
from typing import Any
from uuid import UUID

from django.core import signing
from django.http import HttpRequest, HttpResponse

from capsule_cloud.lib import crypto
from tenancy.sso import cookies
from tenancy.sso.providers.sign_in import BROWSER_HAS

SALT = "sso.oidc.browser"
COOKIE = "sso_{}"
STATE = re.compile(r"[\w-]{1,100}", re.ASCII)


def remember(response: HttpResponse, provider_id: UUID, state: str, waiting: dict[str, Any]) -> None:
    """Have the browser keep it; it holds the code verifier, which nobody reads on its way."""
    sealed = crypto.seal(json.dumps(waiting | {"provider": str(provider_id), "state": state}).encode()).decode()
    cookies.keep(response, COOKIE.format(state), signing.dumps(sealed, salt=SALT), BROWSER_HAS)


def remembered(request: HttpRequest, provider_id: UUID, state: str) -> dict[str, Any] | None:
    """What this browser was sent away with to this provider by this state, unless that is too long ago."""
    try:
        sealed = signing.loads(request.COOKIES.get(COOKIE.format(state), ""), salt=SALT, max_age=BROWSER_HAS)
        found: dict[str, Any] = json.loads(crypto.unseal(sealed.encode()))
    except (signing.BadSignature, crypto.Unreadable):
        return None
    return found if (found["provider"], found["state"]) == (str(provider_id), state) else None


def forget(response: HttpResponse, state: str) -> None:
    """Take it back; what is none of our states was no cookie's name either."""
    if STATE.fullmatch(state):
        response.delete_cookie(COOKIE.format(state), path=cookies.PATH)
