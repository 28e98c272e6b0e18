"""Writes to the members of the organization in scope who look after something."""

from collections.abc import Iterable

from django.core.mail import send_mail
from django.db import transaction

from tenancy.models import Membership
from tenancy.roles import RIGHTS, Right


def holders(right: Right) -> list[str]:
    """The addresses of members who have the right, and whose accounts are not switched off."""
    roles = [role for role, rights in RIGHTS.items() if right in rights]
    rows = Membership.objects.filter(role__in=roles, user__is_active=True)
    return list(rows.values_list("user__email", flat=True))


def post(addresses: Iterable[str], *, subject: str, body: str) -> None:
    """Send a mail to each, so that none sees the others, once the transaction has committed.

    A mail server that is away is logged.
    """
    for address in addresses:
        transaction.on_commit(
            lambda address=address: send_mail(subject, body, None, [address]),  # type: ignore[misc]
            robust=True,
        )
