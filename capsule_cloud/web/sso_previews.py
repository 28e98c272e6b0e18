"""Says what would become of whom an identity provider named last: who it is to us, and why it was refused."""

from dataclasses import dataclass
from typing import Any

from tenancy.groups.plans import mapping
from tenancy.groups.rule import Said, role_of
from tenancy.roles import Role
from tenancy.sso import people
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.providers.groups import groups_in
from tenancy.sso.providers.reasons import REASONS, Reason, Refused
from tenancy.sso.providers.sign_in import address_in, name_in

# What is checked one after the other, and the refusals that each check knows
CHECKS = (
    (
        "The identity provider answered, and the answer can be read",
        (
            *("malformed", "forbidden_content", "status", "not_reachable", "discovery", "discovered_issuer"),
            *("code_refused", "no_id_token", "token_malformed", "userinfo"),
        ),
    ),
    (
        "It is signed by the identity provider",
        ("weak_algorithm", "signature", "decryption", "metadata_ended", "token_algorithm", "token_signature"),
    ),
    (
        "It is meant for us, and fresh",
        (
            *("issuer", "audience", "recipient", "confirmation", "expired", "unsolicited", "mixed_up", "token_issuer"),
            *("valid_too_long", "token_audience", "token_expired", "token_hash", "nonce", "not_asked_again"),
        ),
    ),
    ("It is used for the first time, by the browser that asked", ("replayed", "other_browser")),
    ("It says who somebody is", ("no_subject", "no_email", "email_unverified", "groups_left_out")),
    ("The address is in a domain that you have verified", ("foreign_domain",)),
    (
        "The account may come in",
        ("staff_account", "inactive_person", "left_directory", "closed", "not_in_use", "no_seat"),
    ),
)
OUTSIDE = ("logout_token", "other_subject", "unknown_subject")  # refusals of what is no sign-in
COMES_FOR, TESTED = 3, 5  # the checks from which on nothing is asked before the browser comes, and by a test


@dataclass(frozen=True, slots=True)
class Check:
    """One of CHECKS: passed, failed, or not reached."""

    title: str
    state: str  # "passed", "failed", "open"


def checks(sign_in: SignIn) -> list[Check]:
    """How far an answer came, step by step."""
    if sign_in.state == SignIn.State.ENDED or sign_in.code in OUTSIDE:
        return []  # somebody signed out
    is_refused = sign_in.state == SignIn.State.REFUSED
    reached = {SignIn.State.ANSWERED: COMES_FOR, SignIn.State.TESTED: TESTED}.get(
        SignIn.State(sign_in.state), len(CHECKS)
    )
    failed = next((place for place, (_, codes) in enumerate(CHECKS) if sign_in.code in codes), len(CHECKS))
    shown = []
    for place, (title, _) in enumerate(CHECKS):
        if is_refused:
            state = "passed" if place < failed else "failed" if place == failed else "open"
        else:
            state = "passed" if place < reached else "open"
        shown.append(Check(title, state))
    return shown


def reason_of(sign_in: SignIn) -> Reason | None:
    """Why it was refused, and what helps."""
    return REASONS.get(sign_in.code) if sign_in.state == SignIn.State.REFUSED else None


def is_ours(email: str) -> bool:
    """Whether an address is in a domain that the organization in scope has proved."""
    try:
        people.check_domain(email)
    except Refused:
        return False
    return True


def preview(provider: IdentityProvider, sign_in: SignIn) -> dict[str, Any]:
    """Who an answer is about, as the provider's settings read it now."""
    attributes: dict[str, list[str]] = sign_in.attributes
    email = address_in(provider, sign_in.subject, attributes)
    named, default = groups_in(provider, attributes), Role(provider.default_role)
    role = role_of(default, [Said(provider.name, named.groups, default)], mapping())
    return {
        "email": email,
        "is_ours": is_ours(email),
        "name": name_in(provider, attributes),
        "groups": named.groups,
        "are_too_many": named.are_too_many,
        "role": role.label,
        "by_groups": role != default,
        "reason": reason_of(sign_in),
        "checks": checks(sign_in),
    }
