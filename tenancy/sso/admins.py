"""Writes to the people who may set up single sign-on of the organization in scope."""

from typing import Any

from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string

from tenancy.models import Membership
from tenancy.roles import RIGHTS, Right


def tell(subject: str, template: str, context: dict[str, Any]) -> None:
    """Send each of them `sso/<template>.txt`, once the transaction is over."""
    body = render_to_string(f"sso/{template}.txt", context)
    roles = [role for role, rights in RIGHTS.items() if Right.SSO_MANAGE in rights]
    people = Membership.objects.filter(role__in=roles, user__is_active=True).values_list("user__email", flat=True)
    for address in people:
        transaction.on_commit(
            lambda address=address: send_mail(subject, body, None, [address]),  # type: ignore[misc]
            robust=True,
        )
