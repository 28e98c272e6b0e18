"""Signs and verifies exports with the key of the organization in scope (Ed25519, RFC 8032)."""

import base64
from dataclasses import dataclass

from capsule_cloud.lib import crypto
from tenancy.models import Organization


@dataclass(frozen=True, slots=True)
class ExportSignature:
    """A signature over an export's bytes; `value` and `public_key` are base64."""

    key_id: str
    algorithm: str
    public_key: str
    value: str


def sign_export(payload: bytes) -> ExportSignature:
    """Sign with the key of the organization in scope."""
    organization = Organization.objects.get()
    private = crypto.unseal(organization.signing_key)
    public = crypto.public_key(private)
    return ExportSignature(
        key_id=f"org:{organization.pk}",
        algorithm="Ed25519",
        public_key=base64.b64encode(public).decode(),
        value=base64.b64encode(crypto.sign(private, payload)).decode(),
    )


def verify_export(payload: bytes, value: str) -> bool:
    """Whether the organization in scope signed exactly these bytes."""
    try:
        signature = base64.b64decode(value, validate=True)
    except ValueError:
        return False
    private = crypto.unseal(Organization.objects.get().signing_key)
    return crypto.verifies(crypto.public_key(private), signature, payload)
