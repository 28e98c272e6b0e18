"""An OpenID provider that says whatever it is told to, in the place of the door through which ours are asked."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from capsule_cloud.lib import http
from tenancy.sso.oidc import discovery, tokens

Json = dict[str, Any]
Answer = Callable[[], http.Answer]
SECRET = "s3cret: with % and +"
CLIENT = "capsule"


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of this name, made once: it takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def jwk(key: Any, kid: str, **more: Any) -> Json:
    """The public half, as a JWK."""
    kinds = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    kind: Any = next(made for base, made in kinds.items() if isinstance(key, base))
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


def json_answer(said: Any, status: int = 200, **headers: str) -> http.Answer:
    """An answer with this body."""
    body = said if isinstance(said, bytes) else orjson.dumps(said)
    return http.Answer(status, (("Content-Type", "application/json"), *headers.items()), body, is_whole=True)


class Issuer:
    """The provider. `document`, `userinfo` and `answers` may be changed; `says` goes into the next ID token."""

    def __init__(self, url: str = "") -> None:
        self.url = url or f"https://login-{secrets.token_hex(6)}.example.com/tenant"
        self.key: Any = rsa_key("own")
        self.keys = [jwk(self.key, "k1", use="sig", alg="RS256")]
        self.document: Json = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA", "HS256", "none"],
            "authorization_response_iss_parameter_supported": True,
        }
        self.person: Json = {"sub": secrets.token_hex(8)}
        self.says: Json = {}
        self.userinfo: Json = {}
        self.answers: dict[str, Answer] = {}  # instead of its own, by the end of the path
        self.asked: list[str] = []  # paths, in order
        self.forms: list[Json] = []  # what came to the token endpoint
        self.sign: Callable[[Json], str] = self.signed
        self.codes: dict[str, Json] = {}

    def signed(self, claims: Json, *, key: Any = None, algorithm: str = "RS256", **header: Any) -> str:
        """A token, by its own key unless it is told another."""
        return jwt.encode(claims, key or self.key, algorithm, headers={"kid": "k1", **header})

    def code_for(self, asked: Mapping[str, str]) -> str:
        """A code for an authorization request, as after a sign-in of `person`."""
        code = secrets.token_hex(8)
        self.codes[code] = dict(asked)
        return code

    def claims(self, nonce: str | None = None, access_token: str = "") -> Json:
        """A good ID token's, but for what it `says`; None leaves a claim out."""
        now = int(time.time())
        made = {
            "iss": self.url,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "at_hash": tokens._half_hash("RS256", access_token),
            "email_verified": True,
            **self.person,
            **self.says,
        }
        return {name: value for name, value in made.items() if value is not None}

    def logout_token(self, **other: Any) -> str:
        """A good logout token about `person`, but for this."""
        now = int(time.time())
        made = {
            "iss": self.url,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "sub": self.person["sub"],
            "events": {tokens.LOGOUT_EVENT: {}},
            **other,
        }
        return self.signed({name: value for name, value in made.items() if value is not None}, typ="logout+jwt")

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float, most: int
    ) -> http.Answer:
        """In the door's place: the same checks of the address and of transactions, then its answer."""
        http.refuse_open_transaction()
        http.place(url)
        path = urlsplit(url).path.removeprefix(urlsplit(self.url).path)
        self.asked.append(path)
        made = self.answers.get(path, lambda: self._answer(path, headers, body))()
        return http.Answer(made.status, made.headers, made.body[:most], made.is_whole and len(made.body) <= most)

    def _answer(self, path: str, headers: Mapping[str, str], body: bytes) -> http.Answer:
        if path == discovery.WELL_KNOWN:
            return json_answer(self.document)
        if path == "/keys":
            return json_answer({"keys": self.keys})
        if path == "/userinfo":
            return json_answer({**self.person, **self.userinfo})
        assert path == "/token"
        return self._tokens(headers, {name: values[0] for name, values in parse_qs(body.decode()).items()})

    def _tokens(self, headers: Mapping[str, str], form: Json) -> http.Answer:
        self.forms.append(form)
        asked = self.codes.pop(form["code"], None)
        if asked is None:
            return json_answer({"error": "invalid_grant", "error_description": "No such code."}, 400)
        if "Authorization" in headers:
            shown = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
            shown_id, shown_secret = unquote_plus(shown[0]), unquote_plus(shown[2])
        else:
            shown_id, shown_secret = form["client_id"], form.get("client_secret", SECRET)
        if (shown_id, shown_secret) != (CLIENT, SECRET):
            return json_answer({"error": "invalid_client"}, 401)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert asked["code_challenge_method"] == "S256"
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
        assert form["redirect_uri"] == asked["redirect_uri"]
        access_token = secrets.token_hex(8)
        id_token = self.sign(self.claims(asked["nonce"], access_token))
        return json_answer({"access_token": access_token, "id_token": id_token, "token_type": "Bearer"})


def unsigned(claims: Json) -> str:
    """A token that says that nothing signs it (RFC 7519, section 6)."""
    parts = (json.dumps({"alg": "none", "typ": "JWT", "kid": "k1"}), json.dumps(claims))
    return ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts) + "."
