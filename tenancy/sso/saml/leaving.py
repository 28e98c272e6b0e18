"""Leads whoever signs out here on to the SAML identity provider that let them in, to sign out there, too."""

from django.core import signing
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from tenancy.errors import NotFound
from tenancy.scope import scope
from tenancy.sso import sessions
from tenancy.sso.providers import selectors
from tenancy.sso.saml import ending
from tenancy.sso.saml.configuration import ProgramMissing

SALT = "sso.logout"


def onward(request: HttpRequest) -> str | None:
    """A path of ours that leads on to the identity provider, for a session that ends here and that it wants to know of.

    None for all others, and where this machine cannot sign.
    """
    provider_id = sessions.provider_of(request)
    if provider_id is None:
        return None
    try:
        with scope(selectors.organization_of(provider_id)):
            provider = selectors.provider(provider_id)
        asked = ending.ask(provider, sessions.known_as(request))
    except (NotFound, ProgramMissing):
        return None
    if asked is None:
        return None
    to = signing.dumps({"id": asked[0], "url": asked[1], "provider": str(provider_id)}, salt=SALT)
    return f"{reverse('saml_leave', args=[provider_id])}?{urlencode({'to': to})}"
