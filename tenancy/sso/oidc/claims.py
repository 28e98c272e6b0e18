"""Says what the claims of an OpenID provider assert, in the words that every protocol shares, and what is kept."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from django.utils import timezone

from tenancy.names import printable
from tenancy.sso.oidc.discovery import Json
from tenancy.sso.oidc.tokens import CLOCK_SKEW
from tenancy.sso.providers.sign_in import BROWSER_HAS
from tenancy.sso.saml.responses import Asserted

# What serves the protocol, or names a session that goes on: nobody reads it in a trace
LEFT_OUT = frozenset(
    {
        *("iss", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "s_hash"),
        *("sid", "session_state", "typ", "sub"),
    }
)
MOST_CLAIMS, MOST_VALUES, LONGEST_VALUE, LONGEST_SESSION = 100, 1_000, 500, 255


def asserted_by(claims: Json) -> Asserted:
    """What verified claims assert. Each nonce counts once, so it is what this assertion is known by."""
    ends = min(claims["exp"] + CLOCK_SKEW, (timezone.now() + BROWSER_HAS).timestamp())
    return Asserted(
        subject=claims["sub"],
        in_response_to="",
        assertion_id=sha256(claims["nonce"].encode()).hexdigest(),
        expires_at=datetime.fromtimestamp(ends, UTC),
        attributes=_attributes(claims),
        session_index=session_of(claims),
    )


def session_of(claims: Json) -> str:
    """What the provider calls its own session, in a token of either kind; '' where it says nothing of one."""
    sid = claims.get("sid")
    return _shown(sid)[:LONGEST_SESSION] if isinstance(sid, str) else ""


def says_unverified(claims: Json) -> bool:
    """Whether the provider says that it has not verified the address. Some, as Entra ID, say nothing of it.

    That is enough where an organization's own provider speaks for a domain that the organization has proved.
    """
    said = claims.get("email_verified", True)
    return said is not True and said != "true"


def _attributes(claims: Json) -> dict[str, list[str]]:
    """By their names, as texts; values are cut, and objects left out, but for which claims are elsewhere."""
    found: dict[str, list[str]] = {}
    elsewhere = claims.get("_claim_names")
    for name, value in {**claims, "_claim_names": list(elsewhere) if isinstance(elsewhere, dict) else None}.items():
        texts = [text for one in (value if isinstance(value, list) else [value]) if (text := _text(one))]
        if texts and name not in LEFT_OUT and len(found) < MOST_CLAIMS:
            found[_shown(name)] = texts[:MOST_VALUES]
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _shown(str(value)) if isinstance(value, str | int | float) else ""


def _shown(text: str) -> str:
    return printable(text)[:LONGEST_VALUE]
