"""Finds out what an OpenID provider says of itself: where its endpoints are, and by which keys it signs.

It is kept in the provider's row for a bounded time. Nobody is asked while a transaction is open.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson
import requests
from allauth.socialaccount.adapter import get_adapter
from django.core.cache import cache
from django.utils import timezone

from capsule_cloud.lib import http
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider
from tenancy.sso.oidc import outgoing
from tenancy.sso.providers.reasons import Refused

WELL_KNOWN = "/.well-known/openid-configuration"  # OpenID Connect Discovery 1.0, section 4
FRESH = timedelta(hours=1)
KEPT = timedelta(days=1)  # while the provider cannot be reached; its keys are not: one that is withdrawn must go
PAUSE = 15  # seconds after a failure in which nobody asks again
AGAIN = 60  # seconds between two looks for a key that we do not know
# What may have signed a token: no "none", and no HS*, whose key is a secret that others know (RFC 8725)
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
KEY_TYPES = ("RSA", "EC", "OKP")
KEY_MEMBERS = ("kty", "kid", "use", "alg", "n", "e", "crv", "x", "y")
MOST_KEYS = 100
NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
OPTIONAL = ("userinfo_endpoint", "end_session_endpoint")
FLAGS = (
    "authorization_response_iss_parameter_supported",
    "backchannel_logout_supported",
    "backchannel_logout_session_supported",
)
Json = dict[str, Any]


def document(provider: IdentityProvider) -> Json:
    """What we need of the provider's metadata. Raises Refused where it cannot be had, or is not this provider's."""
    age = _age(provider.discovered_at)
    known: Json | None = provider.discovered
    if known is not None and age < FRESH:
        return known
    try:
        url = provider.issuer.rstrip("/") + WELL_KNOWN
        found: Json = _paused(provider, "document", lambda: read(_fetched(url), provider))
    except Refused as refusal:
        if known is not None and refusal.code == "not_reachable" and age < KEPT:
            return known
        raise
    _keep(provider, discovered=found, discovered_at=timezone.now())
    return found


def signing_keys(provider: IdentityProvider) -> list[Json]:
    """The provider's public keys, as JWKs. Raises Refused."""
    known: list[Json] | None = provider.signing_keys
    return known if known is not None and _age(provider.signing_keys_at) < FRESH else _found_keys(provider)


def newer_keys(provider: IdentityProvider) -> list[Json]:
    """The same, asked for again: a token names a key that is not among them. At most once within AGAIN."""
    known: list[Json] = provider.signing_keys or []
    return _found_keys(provider) if cache.add(f"sso:oidc:newer:{provider.pk}", 1, AGAIN) else known


def forget_failure(provider: IdentityProvider) -> None:
    """Let the provider be asked at once, whatever it answered a moment ago."""
    cache.delete_many([_pause(provider, what) for what in ("document", "keys")])


def read(said: Json, provider: IdentityProvider) -> Json:
    """What we need of a discovery document. Raises Refused, with what is wrong."""
    if said.get("issuer") != provider.issuer:
        raise Refused("discovered_issuer", f"It calls itself {said.get('issuer')!r} instead of {provider.issuer!r}.")
    found: Json = {"issuer": provider.issuer}
    for name in (*NEEDED, *OPTIONAL):
        url = said.get(name)
        if url is None and name in OPTIONAL:
            continue
        if not isinstance(url, str):
            raise Refused("discovery", f"{name} is missing.")
        try:
            http.place(url)
        except http.Blocked as failure:
            raise Refused("discovery", f"{name}: {failure}") from None
        found[name] = url
    found |= {name: said.get(name) is True for name in FLAGS}
    algorithms = said.get("id_token_signing_alg_values_supported", list(ALGORITHMS))
    found["algorithms"] = [one for one in ALGORITHMS if isinstance(algorithms, list) and one in algorithms]
    if not found["algorithms"]:
        raise Refused("token_algorithm", f"It offers {algorithms}.")
    return found


def read_keys(said: Json) -> list[Json]:
    """The public signing keys of a JWK Set. Raises Refused."""
    keys = said.get("keys")
    if not isinstance(keys, list) or not all(isinstance(one, dict) for one in keys) or len(keys) > MOST_KEYS:
        raise Refused("discovery", "Its keys are no JWK Set.")
    known = [{name: one[name] for name in KEY_MEMBERS if _is_plain(one.get(name))} for one in keys]
    return [one for one in known if one.get("kty") in KEY_TYPES and one.get("use", "sig") == "sig"]


def _is_plain(value: Any) -> bool:
    """Whether it is a text that PostgreSQL stores, too."""
    return isinstance(value, str) and value.isprintable()


def _found_keys(provider: IdentityProvider) -> list[Json]:
    url = document(provider)["jwks_uri"]
    found: list[Json] = _paused(provider, "keys", lambda: read_keys(_fetched(url)))
    _keep(provider, signing_keys=found, signing_keys_at=timezone.now())
    return found


def _fetched(url: str) -> Json:
    try:
        with get_adapter().get_requests_session() as session:
            response = session.get(url)
    except requests.RequestException as failure:
        raise Refused("not_reachable", str(failure)) from failure
    if response.status_code != 200:
        raise Refused("discovery", f"{url} answered {response.status_code}.")
    try:
        said = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        raise Refused("discovery", f"{url} is no JSON.") from None
    if not isinstance(said, dict):
        raise Refused("discovery", f"{url} is no JSON object.")
    return said


def _paused(provider: IdentityProvider, what: str, ask: Callable[[], Any]) -> Any:
    """What the provider answers; a failure counts for PAUSE, so that people who wait do not queue before it."""
    name = _pause(provider, what)
    if failure := cache.get(name):
        raise Refused(*failure)
    try:
        with outgoing.asking(provider.pk):
            return ask()
    except Refused as refusal:
        cache.set(name, (refusal.code, refusal.detail), PAUSE)
        raise


def _pause(provider: IdentityProvider, what: str) -> str:
    return f"sso:oidc:{what}:{provider.pk}:{provider.version}"


def _keep(provider: IdentityProvider, **found: Any) -> None:
    for name, value in found.items():
        setattr(provider, name, value)
    with scope(provider.organization_id):
        IdentityProvider.objects.filter(pk=provider.pk, version=provider.version).update(**found)


def _age(moment: datetime | None) -> timedelta:
    return timedelta.max if moment is None else timezone.now() - moment
