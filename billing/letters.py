"""Writes to the people who look after an organization's bills."""

from typing import Any

from django.conf import settings
from django.template.loader import render_to_string

from billing.models import BillingAccount
from tenancy import letters
from tenancy.models import Organization
from tenancy.roles import Right


def recipients() -> list[str]:
    """Who hears about money: members who may change billing, and the addresses that invoices go to; each once."""
    account = BillingAccount.objects.first()
    return sorted({*letters.holders(Right.BILLING_WRITE), *(account.invoice_emails if account else [])})


def send(*, template: str, subject: str, context: dict[str, Any]) -> None:
    """Send `billing/letters/{template}.txt` to each of them once the transaction has committed.

    The template also gets `organization` and `billing_url`, the page where everything can be settled. A mail server
    that is away is logged: what the letter says also stands on the billing page.
    """
    organization = Organization.objects.get()
    known = {"organization": organization, "billing_url": f"{settings.PUBLIC_URL}/o/{organization.slug}/billing/"}
    body = render_to_string(f"billing/letters/{template}.txt", known | context)
    letters.post(recipients(), subject=subject, body=body)
