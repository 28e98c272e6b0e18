"""Says step by step how an identity provider is connected, in the words of its own admin console."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from capsule_cloud.web.sso_pictures import Picture
from tenancy.sso.oidc import addresses
from tenancy.sso.saml import configuration
from tenancy.sso.setup.models import Protocol, Vendor


@dataclass(frozen=True, slots=True)
class Copied:
    """One of our addresses, under the vendor's word for the field that it goes into."""

    label: str
    key: str  # of `ours`


@dataclass(frozen=True, slots=True)
class Mapped:
    """An attribute or claim to send: its name, and what the vendor calls what goes into it."""

    name: str
    source: str
    what_for: str


@dataclass(frozen=True, slots=True)
class Step:
    """What to do in one place there. In `text`, what stands between ** is a word of the vendor's console."""

    title: str
    text: tuple[str, ...]
    copies: tuple[Copied, ...] = ()
    maps: tuple[Mapped, ...] = ()
    picture: Picture | None = None
    asks: bool = False  # whether what the vendor gives is entered here


@dataclass(frozen=True, slots=True)
class Guide:
    """The whole way, and what it takes."""

    vendor: Vendor
    protocol: Protocol
    console: str  # what its admins call the place
    steps: tuple[Step, ...]
    metadata_by: str = "url"  # how it gives its metadata best: "url" or "file"
    issuer: str = ""  # the one that everybody has, or an example


def bold(text: str) -> SafeString:
    """`**Words**` as bold ones; everything else as it is."""
    parts = escape(text).split("**")
    return mark_safe("".join(f"<b>{one}</b>" if number % 2 else one for number, one in enumerate(parts)))  # noqa: S308


def ours(provider_id: UUID, protocol: str) -> dict[str, str]:
    """Our addresses for one provider."""
    if protocol == Protocol.OIDC:
        return {
            "redirect_uri": addresses.redirect_uri(provider_id),
            "backchannel_logout_uri": addresses.backchannel_logout_uri(provider_id),
            "login_url": addresses.initiate_login_uri(provider_id),
        }
    acs_url = configuration.acs_url(provider_id)
    return {
        "acs_url": acs_url,
        "acs_validator": f"^{acs_url.replace('.', chr(92) + '.')}$",
        "entity_id": configuration.entity_id(provider_id),
        "logout_url": configuration.logout_url(provider_id),
        "logout_post_url": configuration.logout_post_url(provider_id),
        "login_url": f"{configuration.base(provider_id)}/login/",
    }


def told(guide: Guide, provider_id: UUID) -> list[dict[str, Any]]:
    """The steps with our addresses filled in; those that the protocol has not are left out."""
    known, shown = ours(provider_id, guide.protocol), []
    for number, step in enumerate(guide.steps, 1):
        copies = [
            {"label": one.label, "id": f"{one.key}-{number}-{place}", "text": known[one.key]}
            for place, one in enumerate(step.copies)
            if one.key in known
        ]
        picture = step.picture.draw() if step.picture else ""
        texts = [bold(one) for one in step.text]
        shown.append({"step": step, "number": number, "texts": texts, "copies": copies, "picture": picture})
    return shown
