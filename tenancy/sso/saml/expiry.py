"""Tells admins in time when an identity provider's certificates or metadata end, each time once."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, record
from tenancy.scope import scope, unscoped
from tenancy.sso import admins
from tenancy.sso.models import CertificateNotice, IdentityProvider
from tenancy.sso.providers import services

DAYS = (30, 14, 7, 1)  # before the end at which mails go out
ONE_OF_SEVERAL = 14  # the only mail about a certificate beside which another goes on
COLUMNS = (
    *("organization_id", "name", "metadata_url"),
    *("certificate_expires_at", "next_certificate_expires_at", "metadata_valid_until"),
)
ORGANIZATIONS = 500  # in one question
FIRST = UUID(int=0)
log = logging.getLogger("sso.expiry")


class What(StrEnum):
    """What ends."""

    CERTIFICATE = "certificate"  # the last of them
    ONE_OF_SEVERAL = "one_of_several"
    METADATA = "metadata"  # it was pasted, and says itself until when it is valid


@dataclass(frozen=True, slots=True)
class Ending:
    """Something that ends within DAYS, or has ended."""

    provider: IdentityProvider
    what: What
    ends_at: datetime

    @property
    def days(self) -> int:
        """Days that are left, begun ones counted; 0 once it has ended."""
        return max(-(-(self.ends_at - timezone.now()) // timedelta(days=1)), 0)


def endings() -> list[Ending]:
    """What ends soon of the providers of the organization in scope that people sign in by, the next first.

    One query, without the metadata itself: every page of the console asks.
    """
    soon = timezone.now() + timedelta(days=DAYS[0])
    rows = IdentityProvider.objects.filter(
        Q(next_certificate_expires_at__lte=soon)
        | Q(certificate_expires_at__lte=soon)
        | Q(metadata_url="", metadata_valid_until__lte=soon),
        protocol=IdentityProvider.Protocol.SAML,
        state=IdentityProvider.State.ACTIVE,
    ).only(*COLUMNS)
    found = [one for row in rows for one in _of(row) if one.ends_at <= soon]
    return sorted(found, key=lambda one: one.ends_at)


def tell_due() -> int:
    """Write the mails that are due, of every organization; how many that were. One that fails does not keep others."""
    told, after = 0, FIRST
    while organizations := _next(after):
        for organization_id in organizations:
            try:
                with scope(organization_id):
                    told += sum(_tell(one) for one in endings())
            except DatabaseError:
                log.exception("sso.expiry_failed organization=%s", organization_id)
        after = organizations[-1]
    return told


def _next(after: UUID) -> list[UUID]:
    with unscoped(reason="certificates of every organization end") as wide:
        rows = wide.rows("sso_certificates_ending", timedelta(days=DAYS[0]), after, ORGANIZATIONS)
    return [row["organization_id"] for row in rows]


def _of(provider: IdentityProvider) -> list[Ending]:
    last, first = provider.certificate_expires_at, provider.next_certificate_expires_at
    found = [(What.CERTIFICATE, last), (What.ONE_OF_SEVERAL, first if first != last else None)]
    found.append((What.METADATA, None if provider.metadata_url else provider.metadata_valid_until))
    return [Ending(provider, what, moment) for what, moment in found if moment is not None]


def _tell(ending: Ending) -> bool:
    """Write the mail for the time that is left, unless it was written before."""
    marks = (ONE_OF_SEVERAL,) if ending.what == What.ONE_OF_SEVERAL else DAYS
    mark = min((days for days in marks if ending.days <= days), default=None)
    if mark is None or ending.days == 0:
        return False
    provider = ending.provider
    try:
        with transaction.atomic():  # the database decides between two who tell at once
            CertificateNotice.objects.create(provider=provider, ends_at=ending.ends_at, days=mark)
    except IntegrityError:
        return False
    metadata = {"ends_at": ending.ends_at, "days": ending.days}
    record(action=actions.PROVIDER_ENDS_SOON, actor=SYSTEM, target=services.target(provider), metadata=metadata)
    left = "1 day" if ending.days == 1 else f"{ending.days} days"
    thing = "metadata" if ending.what == What.METADATA else "certificate"
    subject = f"A {thing} of {provider.name} ends in {left}".replace("A metadata", "The metadata")
    admins.tell(subject, "ends_soon", f"providers/{provider.pk}", provider=provider, ending=ending)
    return True
