"""Says which member of staff gives a command."""

from django.core.management.base import CommandError

from tenancy.audit.services import Actor
from tenancy.models import User


def staff(email: str | None) -> Actor:
    """The member of staff with this address, as the actor of what they do. Raises CommandError."""
    user = User.objects.filter(email=(email or "").lower(), is_staff=True, is_active=True).first()
    if user is None:
        raise CommandError("Say who does it: --by with the address of a member of staff.")
    return Actor("staff", str(user.pk), user.email)
