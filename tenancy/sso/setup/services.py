"""Makes setup links, lets one browser take each, ends them, and begins the setup of identity providers."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.core.validators import MaxLengthValidator, validate_email
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from capsule_cloud.lib import crypto
from tenancy.audit import actions
from tenancy.audit.attempts.services import attempt
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.errors import Conflict, Invalid, LimitReached, NotFound
from tenancy.models import Membership, Organization, User
from tenancy.names import clean_name
from tenancy.roles import RIGHTS, Right, Role
from tenancy.scope import scope, unscoped
from tenancy.services import organizations
from tenancy.sso.models import IdentityProvider
from tenancy.sso.setup.models import Protocol, ProviderSetup, SetupLink, Vendor

LIFETIME = timedelta(days=3)
PREFIX = "csl_"  # so that programs that look for secrets find one
MOST_LINKS = 10  # that are open
MOST_BEGUN = 20  # setups without a provider; the oldest gives way
LONGEST_EMAIL = 254  # RFC 5321


class LinkUnknown(NotFound):
    """There is no such link, or there never was."""


class LinkOver(Conflict):
    """The link opens nothing any more; `maker` is whom to ask for another, '' where nobody is known."""

    def __init__(self, sentence: str, maker: str) -> None:
        super().__init__(sentence)
        self.maker = maker


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link with its secret, which is shown once and never stored."""

    link: SetupLink
    secret: str


@dataclass(frozen=True, slots=True)
class Guest:
    """The browser that took a link: it may set single sign-on up for this organization, and nothing else."""

    organization_id: UUID
    organization_name: str
    link: SetupLink
    maker: str

    @property
    def actor(self) -> Actor:
        """The link as it is named in the audit trail."""
        return _named(self.link)


def target(link: SetupLink) -> Target:
    """A setup link as an audit target."""
    return Target("setup_link", str(link.pk), link.name)


def address(secret: str) -> str:
    """Where a link leads."""
    return f"{settings.PUBLIC_URL}{reverse('sso_setup_open', args=[secret])}"


def make(*, actor: Actor, user: User, name: str, email: str = "") -> NewLink:
    """A link for somebody without an account; mailed where an address is given. Raises Invalid or LimitReached."""
    name, email = clean_name(name, "setup link"), email.strip().lower()
    if email:
        try:
            validate_email(email)
            MaxLengthValidator(LONGEST_EMAIL)(email)
        except ValidationError:
            raise Invalid("email", "Write an e-mail address like name@example.com, or leave it empty.") from None
    organization, now = organizations.locked(), timezone.now()
    if SetupLink.objects.filter(revoked_at=None, expires_at__gt=now).count() >= MOST_LINKS:
        raise LimitReached(f"There are {MOST_LINKS} open setup links: revoke one first.")
    secret = PREFIX + secrets.token_urlsafe(32)
    link = SetupLink.objects.create(
        name=name, email=email, digest=_digest(secret), made_by=user, expires_at=now + LIFETIME
    )
    metadata = {"expires_at": link.expires_at.isoformat(), "is_mailed": bool(email)}
    record(action=actions.SETUP_LINK_MADE, actor=actor, target=target(link), metadata=metadata)
    if email:
        _mail(link, organization, secret, actor.label)
    return NewLink(link, secret)


def revoke(*, actor: Actor, link_id: UUID) -> SetupLink:
    """End a link at once, with the browser that has taken it. Raises NotFound."""
    link = SetupLink.objects.select_for_update().filter(pk=link_id).first()
    if link is None or not link.is_open:
        raise NotFound("There is no such open setup link.")
    _end(link, actor)
    return link


def look(secret: str) -> Guest:
    """Whose link it is, for the page that asks whether to begin; changes nothing. Raises LinkUnknown or LinkOver."""
    organization_id, link_id = _found(secret)
    with scope(organization_id):
        guest = _usable(SetupLink.objects.select_related("made_by").get(pk=link_id))
    if isinstance(guest, LinkOver):
        raise guest
    if guest.link.opened_at:
        raise _in_two_hands(guest)
    return guest


def open_link(secret: str) -> tuple[Guest, str]:
    """Take a link for the browser that asks, once: the guest, and the secret that the browser keeps from then on.

    Raises LinkUnknown, or LinkOver, also where another browser has taken it.
    """
    organization_id, link_id = _found(secret)
    with scope(organization_id):
        link = SetupLink.objects.select_for_update(of=("self",)).select_related("made_by").get(pk=link_id)
        guest = _usable(link)
        if isinstance(guest, Guest) and link.opened_at is None:
            kept = secrets.token_urlsafe(32)
            link.browser_digest, link.opened_at = _digest(kept), timezone.now()
            link.save(update_fields=["browser_digest", "opened_at"])
            record(action=actions.SETUP_LINK_OPENED, actor=guest.actor, target=target(link))
            return guest, kept
    if isinstance(guest, LinkOver):
        raise guest
    raise _in_two_hands(guest)


def guest_with(*, organization_id: UUID, link_id: UUID, kept: str) -> Guest:
    """The guest whose browser keeps this secret. Opens its own scope. Raises LinkUnknown or LinkOver."""
    with scope(organization_id):
        link = SetupLink.objects.select_related("made_by").filter(pk=link_id, browser_digest=_digest(kept)).first()
        guest = LinkUnknown("There is no such setup link.") if link is None else _usable(link)
    if isinstance(guest, Guest):
        return guest
    raise guest


def is_of(link: SetupLink, secret: str) -> bool:
    """Whether this is the link's secret."""
    return constant_time_compare(bytes(link.digest), _digest(secret))


def begin(*, vendor: str, protocol: str) -> ProviderSetup:
    """Reserve the id of a provider that is about to be set up; of those that nobody went on with the oldest go."""
    if vendor not in Vendor.values or protocol not in Protocol.values:
        raise Invalid("vendor", "Choose an identity provider of the list.")
    begun = ProviderSetup.objects.exclude(pk__in=IdentityProvider.objects.values("pk")).order_by("-id")
    kept = list(begun.values_list("pk", flat=True)[: MOST_BEGUN - 1])
    begun.exclude(pk__in=kept).delete()
    return ProviderSetup.objects.create(vendor=vendor, protocol=protocol)


def _usable(link: SetupLink) -> Guest | LinkOver:
    """The guest of a link that is good; one whose maker may not do the same any more is ended for good."""
    organization = Organization.objects.get()
    maker = link.made_by.email if link.made_by is not None else ""
    if link.revoked_at is not None:
        return LinkOver("This setup link was ended.", maker)
    if link.expires_at <= timezone.now():
        return LinkOver("This setup link has expired.", maker)
    if organization.closed_at is not None:
        return LinkOver("This setup link was ended.", maker)
    if not _may_set_up(link.made_by):
        _end(link, SYSTEM, "Whoever made it may not set up single sign-on any more.")
        return LinkOver("This setup link was ended.", "")
    return Guest(organization.pk, organization.name, link, maker)


def _may_set_up(user: User | None) -> bool:
    if user is None or not user.is_active:
        return False
    membership = Membership.objects.filter(user=user).first()
    return membership is not None and Right.SSO_MANAGE in RIGHTS[Role(membership.role)]


def _end(link: SetupLink, actor: Actor, reason: str = "") -> None:
    link.revoked_at = timezone.now()
    link.save(update_fields=["revoked_at"])
    record(action=actions.SETUP_LINK_REVOKED, actor=actor, target=target(link), reason=reason)


def _in_two_hands(guest: Guest) -> LinkOver:
    """Tell the organization that a link has come to somebody else, too; what to raise."""
    attempt(
        organization_id=guest.organization_id,
        action=actions.SETUP_LINK_REFUSED,
        target=target(guest.link),
        metadata={"code": "other_browser"},
    )
    return LinkOver("This setup link is in use in another browser.", guest.maker)


def _found(secret: str) -> tuple[UUID, UUID]:
    with unscoped(reason="a setup link says which organization is to be set up") as wide:
        rows = wide.rows("sso_setup_link_of", _digest(secret))
    if not rows:
        raise LinkUnknown("There is no such setup link.")
    return rows[0]["organization_id"], rows[0]["link_id"]


def _digest(secret: str) -> bytes:
    return crypto.keyed_hash(secret.encode("utf-8", "surrogatepass"))


def _named(link: SetupLink) -> Actor:
    return Actor("setup_link", str(link.pk), f"Setup link: {link.name}")


def _mail(link: SetupLink, organization: Organization, secret: str, maker: str) -> None:
    context = {"link": link, "organization": organization, "maker": maker, "address": address(secret)}
    body = render_to_string("sso_setup/link.txt", context)
    subject = f"Set up single sign-on for {organization.name}"
    # robust: the link stands; a mail server that is away is logged, and the page shows the link to copy
    transaction.on_commit(lambda: send_mail(subject, body, None, [link.email]), robust=True)
