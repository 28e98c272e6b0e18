"""Makes the signed copy of an organization's entitlements that a data plane elsewhere can check without asking us."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from billing.models.entitlements import EntitlementVersion
from billing.plans import FAIL_OPEN, Feature
from billing.selectors.entitlements import content, effective
from tenancy.selectors import organization
from tenancy.services.signing import ExportSignature, sign_export

FORMAT = "capsule-entitlements/1"
VALID = timedelta(hours=24)
STALE = {"reads": "open", "writes": "closed"} | {
    f"feature:{one}": "open" if one in FAIL_OPEN else "closed" for one in Feature
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Entitlements as JSON, and the organization's signature over FORMAT, a line feed and their canonical bytes."""

    entitlements: dict[str, Any]
    signature: ExportSignature


def snapshot(*, now: datetime | None = None) -> Snapshot:
    """The entitlements of the organization in scope, good for a day from `now`.

    A newer copy has a higher `version`, or the same one and a later `issued_at`. After `valid_until`, `when_stale` says
    what goes on (open) and what stops (closed).
    """
    entitled = effective(now=now)  # what began in this very second holds
    now = (now or timezone.now()).astimezone(UTC).replace(microsecond=0)  # whoever checks it has no other clock
    owner = organization()
    version = EntitlementVersion.objects.first()
    entitlements = {
        "format": FORMAT,
        "organization": str(owner.pk),
        "version": version.number if version else 0,
        "issued_at": now.isoformat(),
        "valid_until": (now + VALID).isoformat(),
        "when_stale": STALE,
        **content(owner, entitled),
    }
    return Snapshot(entitlements, sign_export(signed_bytes(entitlements)))


def signed_bytes(entitlements: dict[str, Any]) -> bytes:
    """What is signed: keys sorted, no blanks, UTF-8 (RFC 8785, as there are no fractions), behind the format's name.

    The name keeps a signature over an exported file from passing for one over entitlements.
    """
    canonical = json.dumps(entitlements, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{FORMAT}\n{canonical}".encode()
