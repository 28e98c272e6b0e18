"""Reads in which groups an identity provider says that somebody is, and whether it says that they used two factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenancy.sso.models import IdentityProvider

Attributes = Mapping[str, Sequence[str]]
# Where identity providers have groups: most of them; directories by LDAP; Entra ID; ADFS
USUAL = (
    "groups",
    "Groups",
    "memberOf",
    "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups",
    "http://schemas.xmlsoap.org/claims/Group",
)
# What Entra ID sends of somebody in too many groups: an address to ask at, and no groups. In SAML more than 150 are
# too many, in OpenID Connect more than 200, or in some flows more than five.
LINK = "http://schemas.microsoft.com/claims/groups.link"
ELSEWHERE, HAS_GROUPS = "_claim_names", "hasgroups"  # OpenID Connect Core 1.0, section 5.6.2; Entra ID's own
# RFC 8176's word for several factors, in `amr` or in what Entra ID calls so in SAML
METHODS = ("amr", "http://schemas.microsoft.com/claims/authnmethodsreferences")
SEVERAL = frozenset({"mfa", "http://schemas.microsoft.com/claims/multipleauthn"})


@dataclass(frozen=True, slots=True)
class Named:
    """The groups that are named, and the attribute that has them; or that there are too many to be named."""

    attribute: str
    groups: tuple[str, ...]
    are_too_many: bool = False


def groups_in(provider: IdentityProvider, attributes: Attributes) -> Named:
    """The groups that are asserted. A missing attribute means none: providers leave it out where it would be empty."""
    candidates = [provider.groups_attribute] if provider.groups_attribute else USUAL
    found = next((one for one in candidates if attributes.get(one)), "")
    if found:
        return Named(found, tuple(attributes[found]))
    are_elsewhere = "groups" in attributes.get(ELSEWHERE, ()) or "true" in attributes.get(HAS_GROUPS, ())
    return Named("", (), bool(attributes.get(LINK)) or are_elsewhere)


def counts_as_second_factor(provider: IdentityProvider, attributes: Attributes) -> bool:
    """Whether a sign-in counts as one with a second factor.

    It does where the organization trusts the provider to ask for one, unless the provider says how somebody signed in
    and names no second factor among that.
    """
    said = [word for name in METHODS for word in attributes.get(name, ())]
    return provider.is_mfa_trusted and (not said or not SEVERAL.isdisjoint(said))
