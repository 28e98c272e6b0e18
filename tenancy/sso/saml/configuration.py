"""Makes pysaml2's client of one identity provider from its row: one IdP, our own addresses and keys, no network."""

import functools
import shutil
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, cast
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from django.conf import settings

from capsule_cloud.lib import crypto
from tenancy.sso.models import IdentityProvider
from tenancy.sso.saml import algorithms
from tenancy.sso.saml.signatures import InProcess

PROGRAM = "xmlsec1"  # upstream's way to sign and verify XML; Debian's package has the same name
CLOCK_SKEW = 60  # seconds that the identity provider's clock may differ from ours
MOST_KEPT = 200  # configurations in memory, about 125 KiB each
CERTIFICATE_LIFE = timedelta(days=3650)
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_kept: "OrderedDict[tuple[UUID, int, str, str], _Made]" = OrderedDict()
_lock = threading.Lock()


class ProgramMissing(Exception):
    """This machine has no xmlsec1: an operator installs it, or sets SAML_CRYPTO to xmlsec; a retry does not help."""


class Signer:
    """Signs addresses with our key (SAML 2.0 Bindings, 3.4.4.1).

    pysaml2's own keeps the key in a signer that all threads share: one organization's address, another's key.
    """

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    def get_signer(self, algorithm: str) -> Self | None:
        """What signs by an algorithm, if we do."""
        return self if algorithm == algorithms.RSA_SHA256 else None

    def sign(self, message: bytes) -> bytes:
        """The signature of a query string."""
        return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())


@dataclass(frozen=True, slots=True)
class _Made:
    """What is kept of a provider: pysaml2's SPConfig, what looks at signatures, and what signs addresses."""

    config: Any
    backend: Any
    signer: Signer


def base(provider_id: UUID) -> str:
    """Where all addresses of a provider begin."""
    return f"{settings.PUBLIC_URL}/sso/saml/{provider_id}"


def entity_id(provider_id: UUID) -> str:
    """What we are called at this identity provider, and nowhere else: what is said to us there is for nobody else."""
    return f"{base(provider_id)}/metadata/"


def acs_url(provider_id: UUID) -> str:
    """Where the identity provider posts its answers."""
    return f"{base(provider_id)}/acs/"


def logout_url(provider_id: UUID) -> str:
    """Where the identity provider sends logouts, and answers to ours, in addresses."""
    return f"{base(provider_id)}/logout/"


def logout_post_url(provider_id: UUID) -> str:
    """Where it sends them by a form."""
    return f"{base(provider_id)}/logout/post/"


def new_key(common_name: str) -> tuple[bytes, str]:
    """A fresh RSA key, sealed, and its certificate as PEM: it signs our requests and opens what is encrypted for us."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + CERTIFICATE_LIFE)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return crypto.seal(private), certificate.public_bytes(serialization.Encoding.PEM).decode()


def client(provider: IdentityProvider) -> Any:
    """A `saml2.client.Saml2Client` of its own for a provider, as each holds what it has seen. Raises ProgramMissing."""
    from saml2.client import Saml2Client  # noqa: PLC0415  # 2 s and 52 MiB

    made = _of(provider)
    fresh = Saml2Client(made.config)
    fresh.sec.crypto, fresh.sec.sec_backend = made.backend, made.signer
    return fresh


def configuration(provider: IdentityProvider) -> Any:
    """The `saml2.config.SPConfig` of a provider. Raises ProgramMissing."""
    return _of(provider).config


def signer(provider: IdentityProvider) -> Signer:
    """What signs addresses for a provider. Raises ProgramMissing."""
    return _of(provider).signer


def _of(provider: IdentityProvider) -> _Made:
    """Kept until the provider's row changes."""
    kept = (provider.pk, provider.version, settings.PUBLIC_URL, settings.SAML_CRYPTO)
    with _lock:
        if kept in _kept:
            _kept.move_to_end(kept)
            return _kept[kept]
    made = _made(provider)
    with _lock:
        _kept[kept] = made
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return made


def _made(provider: IdentityProvider) -> _Made:
    from saml2.config import SPConfig  # noqa: PLC0415  # 2 s and 52 MiB

    pairs = [_pair(provider, "own", provider.key, provider.certificate)]
    if provider.spare_key is not None:
        pairs.append(_pair(provider, "spare", provider.spare_key, provider.spare_certificate))
    keys = {pair["key_file"]: key for pair, key in pairs}
    backend = InProcess(keys) if settings.SAML_CRYPTO == "xmlsec" else _program(keys)
    logout = [(logout_url(provider.pk), REDIRECT), (logout_post_url(provider.pk), POST)]
    made = SPConfig()
    made.load(
        {
            "entityid": entity_id(provider.pk),
            # pysaml2 has two: this one cannot verify anything, should ours ever not take its place
            "crypto_backend": "XMLSecurity",
            **pairs[0][0],
            "additional_cert_files": [pair["cert_file"] for pair, _ in pairs[1:]],
            "encryption_keypairs": [pair for pair, _ in pairs],
            "only_use_keys_in_metadata": True,
            "allow_unknown_attributes": True,
            "accepted_time_diff": CLOCK_SKEW,
            "metadata": {"inline": [provider.metadata]},
            "service": {
                "sp": {
                    "endpoints": {
                        "assertion_consumer_service": [(acs_url(provider.pk), POST)],
                        "single_logout_service": logout,
                    },
                    "name_id_format_allow_create": True,
                    "allow_unsolicited": provider.is_unsolicited_allowed,
                    "authn_requests_signed": True,
                    # `responses` says for each answer which of its signatures must be good
                    "want_assertions_signed": True,
                    "want_response_signed": False,
                }
            },
        }
    )
    own = next(iter(keys.values()))
    loaded = serialization.load_pem_private_key(own, None, unsafe_skip_rsa_key_validation=True)  # of our own making
    return _Made(made, backend, Signer(cast("rsa.RSAPrivateKey", loaded)))


def _program(keys: dict[str, bytes]) -> Any:
    """pysaml2's own backend, which runs the program; it wants keys as files. Raises ProgramMissing."""
    from saml2.sigver import CryptoBackendXmlSec1  # noqa: PLC0415  # 2 s and 52 MiB

    program = shutil.which(PROGRAM)
    if program is None:
        raise ProgramMissing(f"{PROGRAM} is not installed on this machine.")
    for name, key in keys.items():
        file = Path(name)
        file.touch(mode=0o600)
        file.write_bytes(key)
    # it would run the program twice more for each signature, to ask its version
    version = CryptoBackendXmlSec1(program).version_nums
    return type("XmlSec1", (CryptoBackendXmlSec1,), {"version_nums": version})(program)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder of this process alone, gone at its end: pysaml2 wants certificates as files, xmlsec1 keys too."""
    return tempfile.TemporaryDirectory(prefix="capsule-saml-")


def _pair(
    provider: IdentityProvider, name: str, key: bytes | memoryview, certificate: str
) -> tuple[dict[str, str], bytes]:
    """One of our pairs as pysaml2 names it, and its key; the key's file is there for xmlsec1 alone."""
    folder = Path(_folder().name)
    names = [folder / f"{provider.pk}-{provider.version}-{name}.{ending}" for ending in ("key", "crt")]
    names[1].write_text(certificate)
    return {"key_file": str(names[0]), "cert_file": str(names[1])}, crypto.unseal(key)
