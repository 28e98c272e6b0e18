"""Makes pysaml2's configuration of one identity provider from its row: one IdP, our own addresses, no network."""

import functools
import shutil
import tempfile
import threading
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from django.conf import settings

from capsule_cloud.lib import crypto
from tenancy.sso.models import IdentityProvider

PROGRAM = "xmlsec1"  # signs and verifies XML; Debian's package has the same name
CLOCK_SKEW = 60  # seconds that the identity provider's clock may differ from ours
MOST_KEPT = 200  # configurations in memory, about 125 KiB each
CERTIFICATE_LIFE = timedelta(days=3650)
REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
_kept: "OrderedDict[tuple[UUID, int, str], Any]" = OrderedDict()
_lock = threading.Lock()


class ProgramMissing(Exception):
    """This machine has no xmlsec1: an operator installs it (`apt-get install xmlsec1`), a retry does not help."""


def base(provider_id: UUID) -> str:
    """Where all addresses of a provider begin."""
    return f"{settings.PUBLIC_URL}/sso/saml/{provider_id}"


def entity_id(provider_id: UUID) -> str:
    """What we are called at this identity provider, and nowhere else: what is said to us there is for nobody else."""
    return f"{base(provider_id)}/metadata/"


def acs_url(provider_id: UUID) -> str:
    """Where the identity provider posts its answers."""
    return f"{base(provider_id)}/acs/"


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


def configuration(provider: IdentityProvider) -> Any:
    """The `saml2.config.SPConfig` of a provider, kept until its row changes. Raises ProgramMissing."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise ProgramMissing(f"{PROGRAM} is not installed on this machine.")
    kept = (provider.pk, provider.version, settings.PUBLIC_URL)
    with _lock:
        if kept in _kept:
            _kept.move_to_end(kept)
            return _kept[kept]
    made = _made(provider, program)
    with _lock:
        _kept[kept] = made
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    return made


def _made(provider: IdentityProvider, program: str) -> Any:
    from saml2.config import SPConfig  # noqa: PLC0415  # 2 s and 52 MiB

    key_file, certificate_file = _files(provider)
    endpoints = {"assertion_consumer_service": [(acs_url(provider.pk), POST)]}
    pair = {"key_file": key_file, "cert_file": certificate_file}
    made = SPConfig()
    made.load(
        {
            "entityid": entity_id(provider.pk),
            "xmlsec_binary": program,
            **pair,
            "encryption_keypairs": [pair],
            "only_use_keys_in_metadata": True,
            "allow_unknown_attributes": True,
            "accepted_time_diff": CLOCK_SKEW,
            "metadata": {"inline": [provider.metadata]},
            "service": {
                "sp": {
                    "endpoints": endpoints,
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
    return made


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder of this process alone, gone at its end: pysaml2 and xmlsec1 want keys as files."""
    return tempfile.TemporaryDirectory(prefix="capsule-saml-")


def _files(provider: IdentityProvider) -> tuple[str, str]:
    folder = Path(_folder().name)
    key, certificate = (folder / f"{provider.pk}-{provider.version}.{ending}" for ending in ("key", "crt"))
    key.touch(mode=0o600)
    key.write_bytes(crypto.unseal(provider.key))
    certificate.write_text(provider.certificate)
    return str(key), str(certificate)
