"""Who comes by an identity provider: known, linked by a verified domain or new; and who is not let in."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.models import Membership, Organization, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import ExternalIdentity, IdentityProvider, SignIn, VerifiedDomain
from tenancy.sso.providers import sign_in
from tenancy.sso.providers.reasons import Refused
from tenancy.sso.providers.sign_in import Arrived
from tests.factories import PASSWORD, Tenant, make_user
from tests.identity_provider import SamlProvider
from tests.tenancy.sso.saml.conftest import connect, own


@pytest.fixture
def row(tenant: Tenant) -> IdentityProvider:
    """A provider in use."""
    return connect(tenant, SamlProvider())


@pytest.fixture
def domain(tenant: Tenant) -> str:
    """The tenant's domain."""
    return own(tenant)


def answered(row: IdentityProvider, email: str, **more: Any) -> SignIn:
    """An answer that was believed, and waits for its browser."""
    values = {"subject": email, "email": email, "expires_at": timezone.now() + timedelta(minutes=5)} | more
    with scope(row.organization_id):
        kept = SignIn.objects.create(
            provider=row, provider_version=row.version, state="answered", assertion_id=f"_{uuid.uuid4().hex}", **values
        )
        fresh = IdentityProvider.objects.get(pk=row.pk)
    return sign_in.find(provider=fresh, sign_in_id=kept.pk)


def arrive(row: IdentityProvider, email: str, **more: Any) -> Arrived:
    """Come in with that address."""
    return sign_in.complete(answered(row, email, **more))


def refused(row: IdentityProvider, email: str, **more: Any) -> str:
    """Why somebody with that address is not let in; nothing has changed but the trace."""
    kept = answered(row, email, **more)
    with scope(row.organization_id):
        before = Membership.objects.count(), ExternalIdentity.objects.count()
    with pytest.raises(Refused) as refusal:
        sign_in.complete(kept)
    with scope(row.organization_id):
        assert (Membership.objects.count(), ExternalIdentity.objects.count()) == before
        trace = SignIn.objects.get(pk=kept.pk)
        assert (trace.state, trace.code) == (SignIn.State.REFUSED, refusal.value.code)
        assert AuditEvent.objects.filter(action=actions.SIGN_IN_REFUSED.name).exists()
    return refusal.value.code


def test_somebody_new_gets_an_account_and_the_role_of_newcomers(
    tenant: Tenant, row: IdentityProvider, domain: str
) -> None:
    user = arrive(row, f"ada@{domain}", attributes={"displayName": ["Ada Lovelace"]}).user
    assert (user.email, user.name, user.has_usable_password()) == (f"ada@{domain}", "Ada Lovelace", False)
    assert EmailAddress.objects.get(user=user).verified
    with scope(tenant.organization):
        assert Membership.objects.get(user=user).role == Role.VIEWER
        told = set(AuditEvent.objects.values_list("action", flat=True))
    assert {actions.IDENTITY_LINKED.name, actions.MEMBER_ADDED.name} <= told


def test_somebody_known_comes_again_as_themselves_whatever_address_is_asserted(
    row: IdentityProvider, domain: str
) -> None:
    first = arrive(row, f"ada@{domain}", subject="00u1")
    again = arrive(row, f"somebody-else@{domain}", subject="00u1")
    assert again.user == first.user


def test_a_member_of_a_verified_domain_keeps_their_account_and_their_role(
    tenant: Tenant, row: IdentityProvider, domain: str
) -> None:
    bob = make_user("Bob")
    User.objects.filter(pk=bob.pk).update(email=f"bob@{domain}")
    EmailAddress.objects.filter(user=bob).update(email=f"bob@{domain}")
    with scope(tenant.organization):
        Membership.objects.create(user=bob, role=Role.ADMIN)
    arrived = arrive(row, f"BOB@{domain}".lower())
    assert arrived.user == bob
    assert arrived.user.check_password(PASSWORD)
    with scope(tenant.organization):
        assert Membership.objects.get(user=bob).role == Role.ADMIN


def test_who_waits_with_a_password_in_an_unconfirmed_account_has_waited_in_vain(
    row: IdentityProvider, domain: str
) -> None:
    squatter = make_user("Mallory")
    User.objects.filter(pk=squatter.pk).update(email=f"ada@{domain}")
    EmailAddress.objects.filter(user=squatter).update(email=f"ada@{domain}", verified=False)
    arrived = arrive(row, f"ada@{domain}")
    assert arrived.user == squatter
    assert not arrived.user.check_password(PASSWORD)
    assert EmailAddress.objects.get(user=squatter).verified


@pytest.mark.parametrize("state", ["pending", ""])
def test_an_address_outside_the_verified_domains_is_refused(tenant: Tenant, row: IdentityProvider, state: str) -> None:
    name = f"acme-{uuid.uuid4().hex[:12]}.com"
    if state:
        with scope(tenant.organization):
            VerifiedDomain.objects.create(domain=name, token=uuid.uuid4().hex, state=state)
    assert refused(row, f"ada@{name}") == "foreign_domain"


def test_a_subdomain_of_a_verified_domain_is_another_domain(row: IdentityProvider, domain: str) -> None:
    assert refused(row, f"ada@labs.{domain}") == "foreign_domain"


def test_a_lost_record_locks_nobody_out(tenant: Tenant, row: IdentityProvider, domain: str) -> None:
    with scope(tenant.organization):
        VerifiedDomain.objects.update(state="lost")
    assert arrive(row, f"ada@{domain}").user.email == f"ada@{domain}"


def test_a_linked_account_whose_address_has_moved_away_is_no_longer_the_providers(
    row: IdentityProvider, domain: str
) -> None:
    user = arrive(row, f"ada@{domain}").user
    User.objects.filter(pk=user.pk).update(email=f"ada-{uuid.uuid4().hex}@example.com")
    assert refused(row, f"ada@{domain}") == "foreign_domain"


@pytest.mark.parametrize(
    ("flags", "code"), [({"is_active": False}, "inactive_person"), ({"is_staff": True}, "staff_account")]
)
def test_an_account_that_no_provider_may_open(
    row: IdentityProvider, domain: str, flags: dict[str, bool], code: str
) -> None:
    user = make_user("Eve")
    User.objects.filter(pk=user.pk).update(email=f"eve@{domain}", **flags)
    assert refused(row, f"eve@{domain}") == code


def test_nobody_comes_in_beyond_the_seats_of_the_plan(tenant: Tenant, row: IdentityProvider, domain: str) -> None:
    with scope(tenant.organization):
        Organization.objects.update(member_limit=1)
    assert refused(row, f"ada@{domain}") == "no_seat"
    assert not User.objects.filter(email=f"ada@{domain}").exists()


def test_a_provider_that_is_switched_off_lets_nobody_in(tenant: Tenant, row: IdentityProvider, domain: str) -> None:
    with scope(tenant.organization):
        IdentityProvider.objects.update(state="off")
    assert refused(row, f"ada@{domain}") == "not_in_use"


def test_an_answer_without_an_address_says_what_it_had(row: IdentityProvider) -> None:
    assert refused(row, "", subject="00u1", attributes={"department": ["Sales"]}) == "no_email"


def test_an_answer_is_good_for_one_browser_once(row: IdentityProvider, domain: str) -> None:
    kept = answered(row, f"ada@{domain}")
    sign_in.complete(kept)
    with pytest.raises(Refused, match="used already"):
        sign_in.complete(kept)
    with pytest.raises(Refused, match="used already"):
        sign_in.find(provider=row, sign_in_id=kept.pk)


def test_an_answer_that_nobody_came_for_in_time_is_void(row: IdentityProvider, domain: str) -> None:
    kept = answered(row, f"ada@{domain}")
    with scope(row.organization_id):
        SignIn.objects.filter(pk=kept.pk).update(created_at=timezone.now() - sign_in.FINISHED_WITHIN)
    with pytest.raises(Refused, match="used already"):
        sign_in.find(provider=row, sign_in_id=kept.pk)


def test_an_answer_of_one_provider_is_not_found_at_another(
    stranger: Tenant, row: IdentityProvider, domain: str
) -> None:
    kept = answered(row, f"ada@{domain}")
    other = connect(stranger, SamlProvider())
    with pytest.raises(Refused, match="used already"):
        sign_in.find(provider=other, sign_in_id=kept.pk)


def test_rubbish_fills_no_disk(row: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "MOST_REFUSED", 3)
    for _ in range(5):
        with pytest.raises(Refused):
            sign_in.receive(provider_id=row.pk, posted="rubbish")
    with scope(row.organization_id):
        assert SignIn.objects.count() == 3


def test_a_closed_organization_lets_nobody_in(tenant: Tenant, row: IdentityProvider) -> None:
    with scope(tenant.organization):
        Organization.objects.update(closed_at=timezone.now())
    with pytest.raises(Refused, match="closed"):
        sign_in.receive(provider_id=row.pk, posted="anything")


@pytest.mark.parametrize(
    ("attributes", "subject", "email"),
    [
        ({"mail": ["ada@acme.com"]}, "00u1", "ada@acme.com"),
        ({"email": ["Ada@Acme.com"], "mail": ["x@acme.com"]}, "00u1", "ada@acme.com"),
        ({}, "ada@acme.com", "ada@acme.com"),
        ({"mail": ["a@acme.com", "b@acme.com"]}, "c@acme.com", ""),
        ({"mail": ["no address"]}, "00u1", ""),
        ({"mail": ["boss@acme.com@evil.com"]}, "00u1", ""),
        ({"mail": ['"boss@acme.com"@evil.com']}, "00u1", ""),
        ({}, "00u1", ""),
    ],
)
def test_the_address_is_the_one_that_is_asserted_or_none(
    row: IdentityProvider, attributes: dict[str, list[str]], subject: str, email: str
) -> None:
    assert sign_in.address_in(row, subject, attributes) == email


def test_a_named_attribute_is_the_only_place_where_the_address_is_looked_for(row: IdentityProvider) -> None:
    row.email_attribute = "upn"
    assert sign_in.address_in(row, "ada@acme.com", {"mail": ["ada@acme.com"]}) == ""
    assert sign_in.address_in(row, "00u1", {"upn": ["ada@acme.com"]}) == "ada@acme.com"
