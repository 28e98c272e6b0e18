"""Writes to the people who may set up single sign-on of the organization in scope."""

from typing import Any

from django.conf import settings
from django.template.loader import render_to_string

from tenancy import letters
from tenancy.models import Organization
from tenancy.roles import Right


def tell(subject: str, template: str, page: str, **context: Any) -> None:
    """Send each of them `sso/<template>.txt`; it gets the organization, too, and `page`, which is below `…/sso/`."""
    organization = Organization.objects.get()
    address = f"{settings.PUBLIC_URL}/o/{organization.slug}/sso/{page}/"
    body = render_to_string(f"sso/{template}.txt", {"organization": organization, "page": address, **context})
    letters.post(letters.holders(Right.SSO_MANAGE), subject=subject, body=body)
