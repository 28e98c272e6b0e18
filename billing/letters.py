"""Writes to the people who look after an organization's bills."""

from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string

from billing.models import BillingAccount
from tenancy.models import Membership, Organization
from tenancy.roles import RIGHTS, Right


def recipients() -> list[str]:
    """Who hears about money: members who may change billing, and the addresses that invoices go to; each once."""
    roles = [role for role, rights in RIGHTS.items() if Right.BILLING_WRITE in rights]
    members = Membership.objects.filter(role__in=roles, user__is_active=True).values_list("user__email", flat=True)
    account = BillingAccount.objects.first()
    return sorted({*members, *(account.invoice_emails if account else [])})


def send(*, template: str, subject: str, context: dict[str, Any]) -> None:
    """Send `billing/letters/{template}.txt` to each of them once the transaction has committed.

    The template also gets `organization` and `billing_url`, the page where everything can be settled. A mail server
    that is away is logged: what the letter says also stands on the billing page.
    """
    organization = Organization.objects.get()
    known = {"organization": organization, "billing_url": f"{settings.PUBLIC_URL}/o/{organization.slug}/billing/"}
    body = render_to_string(f"billing/letters/{template}.txt", known | context)
    for address in recipients():
        # one mail each: whoever pays need not know who else does
        transaction.on_commit(
            lambda address=address: send_mail(subject, body, None, [address]),  # type: ignore[misc]
            robust=True,
        )
