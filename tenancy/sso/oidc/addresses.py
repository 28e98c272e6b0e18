"""Says where an OpenID provider finds us: each provider has addresses of its own."""

from uuid import UUID

from django.conf import settings


def base(provider_id: UUID) -> str:
    """Where all addresses of a provider begin."""
    return f"{settings.PUBLIC_URL}/sso/oidc/{provider_id}"


def redirect_uri(provider_id: UUID) -> str:
    """Where the provider sends browsers back to; no other provider does, so that none can bring another's code."""
    return f"{base(provider_id)}/callback/"


def backchannel_logout_uri(provider_id: UUID) -> str:
    """Where the provider says that somebody has signed out there."""
    return f"{base(provider_id)}/backchannel-logout/"


def initiate_login_uri(provider_id: UUID) -> str:
    """Where the provider's own pages may send people to sign in here: they are sent back to it at once."""
    return f"{base(provider_id)}/login/"
