"""Takes the answers of identity providers, once each, and finds out who has come: known, linked or new."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.attempts.services import attempt
from tenancy.audit.services import SYSTEM, Actor, record
from tenancy.errors import LimitReached
from tenancy.groups import services as group_services
from tenancy.models import Membership, Organization, User
from tenancy.names import printable
from tenancy.roles import Role
from tenancy.scim.directories.selectors import has_left
from tenancy.scope import scope
from tenancy.services import members
from tenancy.services.accounts import person
from tenancy.sso import people
from tenancy.sso.models import ExternalIdentity, IdentityProvider, SignIn
from tenancy.sso.providers import groups, selectors, services
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.saml import responses
from tenancy.sso.saml.responses import Asserted

BROWSER_HAS = timedelta(minutes=10)  # from our page to the identity provider and back
FINISHED_WITHIN = timedelta(minutes=2)  # from the posted answer to our next page
KEPT_FOR = timedelta(days=30)  # as a trace
MOST_REFUSED = 200  # kept of a provider in an hour: whoever sends rubbish does not fill the disk
LONGEST_EMAIL = 254  # RFC 5321
# Where identity providers have the address: Entra ID and ADFS, Google and JumpCloud, LDAP's `mail` by name and by OID
EMAIL_ATTRIBUTES = (
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
    "email",
    "Email",
    "emailAddress",
    "mail",
    "urn:oid:0.9.2342.19200300.100.1.3",
)
NAME_ATTRIBUTES = (
    "http://schemas.microsoft.com/identity/claims/displayname",
    "displayName",
    "name",
    "urn:oid:2.16.840.1.113730.3.1.241",
)
State = SignIn.State


@dataclass(frozen=True, slots=True)
class Arrived:
    """Who came in, and where."""

    user: User
    organization_id: UUID
    provider_id: UUID
    has_second_factor: bool = False  # by the provider's word, where that counts
    session_ends_at: datetime | None = None


def receive(*, provider_id: UUID, posted: str) -> SignIn:
    """Keep what a posted answer asserts until the browser comes for it; no transaction may be open.

    Raises NotFound for a provider that is none, Refused (the organization is told), or configuration.ProgramMissing.
    """
    organization_id = selectors.organization_of(provider_id)
    with scope(organization_id):
        provider = selectors.provider(provider_id)
        is_open = Organization.objects.filter(closed_at=None).exists()
    try:
        if not is_open:
            raise Refused("closed")
        asserted = responses.read(provider, posted)
        return keep(provider, asserted)
    except Refused as refusal:
        refuse(provider, refusal)
        raise


def keep(provider: IdentityProvider, asserted: Asserted) -> SignIn:
    """Keep what a provider asserts, once. Opens its own scope. Raises Refused, of which nobody is told."""
    with scope(provider.organization_id):
        if not Organization.objects.filter(closed_at=None).exists():
            raise Refused("closed")
        return _keep(provider, asserted)


def _keep(provider: IdentityProvider, asserted: Asserted) -> SignIn:
    kept = SignIn(
        provider=provider,
        provider_version=provider.version,
        state=State.ANSWERED,
        in_response_to=asserted.in_response_to,
        assertion_id=asserted.assertion_id,
        subject=asserted.subject,
        attributes=asserted.attributes,
        email=address_in(provider, asserted.subject, asserted.attributes),
        name_id=asserted.name_id,
        session_index=asserted.session_index,
        session_ends_at=asserted.session_ends_at,
        expires_at=asserted.expires_at,
    )
    try:
        with transaction.atomic():  # the database decides between two who bring the same assertion at once
            kept.save()
    except IntegrityError:
        raise Refused("replayed", asserted.assertion_id) from None
    return kept


def refuse(
    provider: IdentityProvider,
    refusal: Refused,
    sign_in: SignIn | None = None,
    *,
    action: actions.Action = actions.SIGN_IN_REFUSED,
) -> None:
    """Tell the organization, once, that somebody was not let in, and why; opens its own scope."""
    if refusal.is_told:
        return
    refusal.is_told = True
    if sign_in is None:
        note(provider, refusal)
    else:
        with scope(provider.organization_id):
            SignIn.objects.filter(pk=sign_in.pk).update(state=State.REFUSED, code=refusal.code, detail=refusal.detail)
    attempt(
        organization_id=provider.organization_id,
        action=action,
        target=services.target(provider),
        metadata={"code": refusal.code},
    )


def note(provider: IdentityProvider, refusal: Refused) -> None:
    """Keep a trace of what was refused, while there is room; opens its own scope."""
    with scope(provider.organization_id):
        if _has_room(provider):
            SignIn.objects.create(
                provider=provider,
                provider_version=provider.version,
                state=State.REFUSED,
                code=refusal.code,
                detail=refusal.detail,
                expires_at=timezone.now(),
            )


def _has_room(provider: IdentityProvider) -> bool:
    since = timezone.now() - timedelta(hours=1)
    return SignIn.objects.filter(provider=provider, state=State.REFUSED, created_at__gt=since).count() < MOST_REFUSED


def find(*, provider: IdentityProvider, sign_in_id: UUID) -> SignIn:
    """A kept answer of a provider for which the browser comes. Raises Refused where it comes too late or again."""
    with scope(provider.organization_id):
        kept = SignIn.objects.filter(pk=sign_in_id, provider=provider).first()
        if kept is None or kept.state != State.ANSWERED or kept.created_at < timezone.now() - FINISHED_WITHIN:
            raise Refused("replayed")
        kept.provider = provider
        return kept


def complete_test(sign_in: SignIn, *, actor: Actor) -> SignIn:
    """The answer as a test: nobody is signed in. Raises Refused where it was used meanwhile."""
    with scope(sign_in.organization_id):
        _claim(sign_in, State.TESTED)
        services.tested(actor=actor, provider_id=sign_in.provider_id, version=sign_in.provider_version)
    return sign_in


def complete(sign_in: SignIn) -> Arrived:
    """Who it is: known by the subject, linked by a verified domain, or new. Once; opens its own scope.

    Raises Refused, of which the organization is told, and nothing has changed.
    """
    provider = sign_in.provider
    try:
        with scope(sign_in.organization_id):
            if provider.state != IdentityProvider.State.ACTIVE:
                raise Refused("not_in_use")
            _claim(sign_in, State.DONE)
            user = _person(provider, sign_in)
            if has_left(user) and not Membership.objects.filter(user=user).exists():
                raise Refused("left_directory")
            try:
                members.join(user=user, role=provider.default_role)
            except LimitReached:
                raise Refused("no_seat") from None
            SignIn.objects.filter(pk=sign_in.pk).update(user=user, code=_give_roles(provider, sign_in, user))
    except Refused as refusal:
        refuse(provider, refusal, sign_in)
        raise
    return Arrived(
        user,
        sign_in.organization_id,
        provider.pk,
        has_second_factor=groups.counts_as_second_factor(provider, sign_in.attributes),
        session_ends_at=sign_in.session_ends_at,
    )


def _give_roles(provider: IdentityProvider, sign_in: SignIn, user: User) -> str:
    """Give somebody the roles of the groups that are asserted; what is to be noted of that, as one of REASONS.

    Where there are too many to be named, what was said before goes on to count.
    """
    named = groups.groups_in(provider, sign_in.attributes)
    if not named.are_too_many:
        group_services.remember(
            user=user,
            source_id=provider.pk,
            source_name=provider.name,
            groups=list(named.groups),
            default_role=Role(provider.default_role),
        )
    group_services.apply(actor=SYSTEM, user=user)
    return "groups_left_out" if named.are_too_many else ""


def forget_old() -> int:
    """Delete the traces of the organization in scope that are older than KEPT_FOR; how many. So with leavers' groups.

    An assertion that is still valid is known for as long: forgotten, it would count once more.
    """
    now = timezone.now()
    group_services.forget_leavers(before=now - KEPT_FOR)
    return SignIn.objects.filter(created_at__lt=now - KEPT_FOR, expires_at__lt=now).delete()[0]


def _claim(sign_in: SignIn, state: str) -> None:
    mine = SignIn.objects.filter(pk=sign_in.pk, state=State.ANSWERED, expires_at__gt=timezone.now())
    if not mine.update(state=state):
        raise Refused("replayed")


def _person(provider: IdentityProvider, sign_in: SignIn) -> User:
    """The user whom the provider may speak for: it speaks for addresses in its own organization's domains alone."""
    known = ExternalIdentity.objects.select_related("user").filter(provider=provider, subject=sign_in.subject).first()
    email = known.user.email if known is not None else sign_in.email
    if not email:
        raise Refused("no_email", f"Attributes: {', '.join(sign_in.attributes) or 'none'}")
    if known is not None:
        people.check_domain(email)
        people.check_account(known.user)
        ExternalIdentity.objects.filter(pk=known.pk).update(last_used_at=timezone.now())
        return known.user
    user, is_new = people.adopt(email=email, name=name_in(provider, sign_in.attributes))
    ExternalIdentity.objects.create(provider=provider, subject=sign_in.subject, user=user)
    actor = Actor("user", str(user.pk), user.email)
    metadata = {"is_new_account": is_new}
    record(action=actions.IDENTITY_LINKED, actor=actor, target=person(user), metadata=metadata)
    return user


def address_in(provider: IdentityProvider, subject: str, attributes: dict[str, list[str]]) -> str:
    """The one address that is asserted, in small letters; '' where there is none, several, or it is no address."""
    is_saml = provider.protocol == IdentityProvider.Protocol.SAML
    usual = EMAIL_ATTRIBUTES if is_saml else ("email",)  # OpenID Connect Core 1.0, section 5.1
    candidates = [provider.email_attribute] if provider.email_attribute else usual
    values = next((attributes[one] for one in candidates if attributes.get(one)), [])
    if not values and not provider.email_attribute and is_saml:
        values = [subject]
    email = values[0].lower() if len(values) == 1 else ""
    try:
        validate_email(email)
    except ValidationError:
        return ""
    return email if email.count("@") == 1 and len(email) <= LONGEST_EMAIL else ""


def name_in(provider: IdentityProvider, attributes: dict[str, list[str]]) -> str:
    """The name that is asserted, on one line; '' without one."""
    candidates = [provider.name_attribute] if provider.name_attribute else [*NAME_ATTRIBUTES]
    values = next((attributes[one] for one in candidates if attributes.get(one)), [""])
    return printable(values[0]).strip()[:120]
