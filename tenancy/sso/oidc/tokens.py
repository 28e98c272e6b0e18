"""Reads the tokens of an OpenID provider, and believes nothing that is not signed by it, for us, and now."""

import base64
import hashlib
import time
from collections.abc import Callable
from typing import Any

import jwt

from tenancy.sso.models import IdentityProvider
from tenancy.sso.oidc import discovery
from tenancy.sso.oidc.discovery import Json
from tenancy.sso.providers.reasons import Refused

CLOCK_SKEW = 60  # seconds that the provider's clock may differ from ours
LOGOUT_FRESH = 300  # seconds that a logout token may be on its way
LONGEST = 64 * 1024
LONGEST_SUBJECT = 255  # OpenID Connect Core 1.0, section 2
SMALLEST_RSA = 2048
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TYPE = "logout+jwt"
# Of PyJWT's exceptions the one that fits first
MEANINGS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.InvalidSignatureError, "token_signature"),
    (jwt.ExpiredSignatureError, "token_expired"),
    (jwt.ImmatureSignatureError, "token_expired"),
    (jwt.InvalidIssuerError, "token_issuer"),
    (jwt.InvalidAudienceError, "token_audience"),
)


def id_token(
    provider: IdentityProvider, token: str, *, nonce: str, access_token: str, asked_again_at: float | None = None
) -> Json:
    """The claims of an ID token (OpenID Connect Core 1.0, section 3.1.3.7). Raises Refused.

    `asked_again_at`: since when the person had to show anew who they are, as far as the provider says when they did.
    """
    claims, algorithm = _verified(provider, token, required=("iss", "sub", "aud", "exp", "iat"), types=("jwt",))
    if claims.get("nonce") != nonce:
        raise Refused("nonce", "The nonce is another." if claims.get("nonce") else "There is no nonce.")
    half = claims.get("at_hash")
    if half is not None and half != _half_hash(algorithm, access_token):
        raise Refused("token_hash")
    signed_in_at = claims.get("auth_time")
    if asked_again_at and isinstance(signed_in_at, int | float) and signed_in_at < asked_again_at - CLOCK_SKEW:
        raise Refused("not_asked_again")
    return claims


def logout_token(provider: IdentityProvider, token: str) -> Json:
    """The claims of a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.6). Raises Refused."""
    claims, _ = _verified(provider, token, required=("iss", "aud", "iat", "jti", "events"), types=("jwt", LOGOUT_TYPE))
    events = claims["events"]
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise Refused("logout_token", "Its events are no logout.")
    if "nonce" in claims:
        raise Refused("logout_token", "It has a nonce: an ID token is no logout token.")
    if not (_text(claims, "sub") or _text(claims, "sid")):
        raise Refused("logout_token", "It names neither a subject nor a session.")
    if claims["iat"] < time.time() - LOGOUT_FRESH - CLOCK_SKEW:
        raise Refused("token_expired", "The logout token is too old.")
    return claims


def _verified(
    provider: IdentityProvider, token: str, *, required: tuple[str, ...], types: tuple[str, ...]
) -> tuple[Json, str]:
    """The claims of a token of this provider, for us, now, and the algorithm of its signature."""
    if len(token) > LONGEST:
        raise Refused("token_malformed", f"It is longer than {LONGEST} characters.")
    header = _parsed(lambda: jwt.get_unverified_header(token))
    algorithm, kind = header.get("alg"), header.get("typ")
    if algorithm not in discovery.document(provider)["algorithms"]:
        raise Refused("token_algorithm", f"It is signed by {algorithm!r}.")
    if kind is not None and (not isinstance(kind, str) or kind.lower().removeprefix("application/") not in types):
        raise Refused("token_malformed", f"Its type is {kind!r}.")
    key = _key(provider, algorithm, header.get("kid"))
    claims: Json = _parsed(
        lambda: jwt.decode(
            token,
            key,
            algorithms=[algorithm],  # one of ours, which the provider announces, and that fits the key
            audience=provider.client_id,
            issuer=provider.issuer,
            leeway=CLOCK_SKEW,
            options={"require": list(required)},
        )
    )
    if not all(isinstance(claims[name], int | float) for name in ("iat", "exp", "nbf") if name in claims):
        raise Refused("token_malformed", "A moment is no number.")
    audiences, azp = claims["aud"], claims.get("azp")
    if (azp is not None or (isinstance(audiences, list) and len(audiences) > 1)) and azp != provider.client_id:
        raise Refused("token_audience", f"The authorized party is {azp!r}.")
    subject = claims.get("sub", "x")
    if not (0 < len(subject) <= LONGEST_SUBJECT and subject.isascii() and subject.isprintable()):
        raise Refused("token_malformed", f"A subject has 1 to {LONGEST_SUBJECT} characters of ASCII.")
    return claims, algorithm


def _key(provider: IdentityProvider, algorithm: str, kid: Any) -> Any:
    """The one key that may have signed it, asked for anew where we do not know it."""
    keys = discovery.signing_keys(provider)
    fitting = _fitting(keys, algorithm, kid) or _fitting(discovery.newer_keys(provider), algorithm, kid)
    if len(fitting) != 1:
        raise Refused("token_signature", f"{len(fitting)} of its keys may be {kid!r} for {algorithm}.")
    key = _parsed(lambda: jwt.PyJWK(fitting[0], algorithm).key)
    if fitting[0]["kty"] == "RSA" and key.key_size < SMALLEST_RSA:
        raise Refused("token_algorithm", f"Its key has {key.key_size} bits.")
    return key


def _fitting(keys: list[Json], algorithm: str, kid: Any) -> list[Json]:
    return [
        one
        for one in keys
        if (kid is None or one.get("kid") == kid)
        and one.get("alg", algorithm) == algorithm
        and (one["kty"] == "RSA" if algorithm not in CURVES else one.get("crv") == CURVES[algorithm])
    ]


def _parsed(parse: Callable[[], Any]) -> Any:
    """What PyJWT reads; it wraps whatever it stumbles over."""
    try:
        return parse()
    except jwt.PyJWTError as failure:
        code = next((code for kind, code in MEANINGS if isinstance(failure, kind)), "token_malformed")
        raise Refused(code, str(failure)) from None


def _half_hash(algorithm: str, access_token: str) -> str:
    """The left half of an access token's hash, as `at_hash` has it (OpenID Connect Core 1.0, section 3.1.3.6)."""
    digest = hashlib.new(f"sha{algorithm[2:] if algorithm != 'EdDSA' else '512'}", access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _text(claims: Json, name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""
