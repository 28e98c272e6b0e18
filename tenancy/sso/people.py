"""Finds or makes the account of an address that the organization in scope may speak for: one in its own domains."""

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator

from tenancy.errors import Invalid
from tenancy.models import User
from tenancy.sso.domains import names
from tenancy.sso.domains.selectors import held
from tenancy.sso.providers.reasons import Refused


def adopt(*, email: str, name: str) -> tuple[User, bool]:
    """The account of an address, and whether it is new. Raises Refused where nobody may be taken or made for it."""
    check_domain(email)
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        user = User.objects.create_user(email, name=name)
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        return user, True
    check_account(user)
    _take_from_squatter(user)
    return user, False


def check_domain(email: str) -> None:
    """Raise Refused unless the organization has proved the domain of an address."""
    try:
        domain = names.clean(email.rpartition("@")[2])
    except Invalid as failure:
        raise Refused("foreign_domain", str(failure)) from None
    if not held().filter(domain=domain).exists():
        raise Refused("foreign_domain", f"{domain} is not verified.")


def check_account(user: User) -> None:
    """Raise Refused for an account that is nobody's to take: switched off, or of somebody who works for us."""
    if not user.is_active:
        raise Refused("inactive_person")
    if user.is_staff:
        raise Refused("staff_account")


def _take_from_squatter(user: User) -> None:
    """An account whose address nobody has confirmed may be somebody else's, who waits with a password for its owner."""
    addresses = EmailAddress.objects.filter(user=user, email__iexact=user.email)
    if not addresses.filter(verified=True).exists():
        user.set_unusable_password()
        user.save(update_fields=["password"])
        Authenticator.objects.filter(user=user).delete()
        EmailAddress.objects.filter(user=user).exclude(email__iexact=user.email).delete()
        addresses.update(verified=True, primary=True)
