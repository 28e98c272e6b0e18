"""Asks an identity provider who somebody is, and describes us to it."""

from dataclasses import dataclass

from django.utils import timezone

from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import algorithms, configuration


@dataclass(frozen=True, slots=True)
class Asked:
    """A signed request on its way: its id, which the answer names, and the address to send the browser to."""

    request_id: str
    url: str


def ask(provider: IdentityProvider, *, is_forced: bool = False) -> Asked:
    """A signed AuthnRequest by the HTTP-Redirect binding; `is_forced` wants people to show again who they are.

    Raises Refused, or configuration.ProgramMissing.
    """
    check_valid(provider)
    client = configuration.client(provider)
    more = {"force_authn": "true"} if is_forced else {}
    request_id, made = client.prepare_for_authenticate(
        entityid=provider.entity_id,
        relay_state="",
        binding=configuration.REDIRECT,
        sign=True,
        sigalg=algorithms.RSA_SHA256,
        **more,
    )
    return Asked(request_id, dict(made["headers"])["Location"])


def check_valid(provider: IdentityProvider) -> None:
    """Raise Refused where the metadata says that it is not valid any more."""
    ends_at = provider.metadata_valid_until
    if ends_at and ends_at <= timezone.now():
        raise Refused("metadata_ended", f"It was valid until {ends_at:%Y-%m-%d %H:%M} UTC.")


def describe(provider: IdentityProvider) -> bytes:
    """Our metadata for this provider, XML. Raises configuration.ProgramMissing."""
    from saml2.metadata import entity_descriptor  # noqa: PLC0415  # 2 s and 52 MiB

    return str(entity_descriptor(configuration.configuration(provider))).encode()
