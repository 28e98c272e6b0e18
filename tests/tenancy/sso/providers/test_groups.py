"""What identity providers say of groups and second factors, and what a sign-in makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Invalid
from tenancy.groups.models import PersonGroups
from tenancy.groups.previews import Edit
from tenancy.models import Membership, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.oidc.claims import asserted_by
from tenancy.sso.providers import groups, services, trust
from tests.factories import Tenant
from tests.identity_provider import SamlProvider
from tests.tenancy.groups.conftest import change
from tests.tenancy.sso.providers.test_sign_in import arrive
from tests.tenancy.sso.saml.conftest import connect, own

ENTRA = "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups"
LINK = {groups.LINK: ["https://graph.windows.net/t/users/u/getMemberObjects"]}


@pytest.fixture
def row(tenant: Tenant) -> IdentityProvider:
    """A provider in use."""
    return connect(tenant, SamlProvider())


@pytest.fixture
def domain(tenant: Tenant) -> str:
    """The tenant's domain."""
    return own(tenant)


def role_of(tenant: Tenant, user: User) -> str:
    """What somebody is."""
    with scope(tenant.organization):
        return Membership.objects.get(user=user).role


@pytest.mark.parametrize(
    ("own_name", "attributes", "named"),
    [
        ("", {"groups": ["a", "b"]}, groups.Named("groups", ("a", "b"))),
        ("", {"memberOf": ["cn=a,dc=acme"]}, groups.Named("memberOf", ("cn=a,dc=acme",))),
        ("", {ENTRA: ["0b5f"]}, groups.Named(ENTRA, ("0b5f",))),
        ("", {"teams": ["a"]}, groups.Named("", ())),
        ("teams", {"teams": ["a"], "groups": ["b"]}, groups.Named("teams", ("a",))),
        ("teams", {"groups": ["b"]}, groups.Named("", ())),
        ("", {}, groups.Named("", ())),
        ("", LINK, groups.Named("", (), are_too_many=True)),
        ("", {"_claim_names": ["groups"]}, groups.Named("", (), are_too_many=True)),
        ("", {"_claim_names": ["address"]}, groups.Named("", ())),
        ("", {"hasgroups": ["true"]}, groups.Named("", (), are_too_many=True)),
    ],
)
def test_groups_are_found_where_providers_have_them(
    own_name: str, attributes: dict[str, list[str]], named: groups.Named
) -> None:
    assert groups.groups_in(IdentityProvider(groups_attribute=own_name), attributes) == named


def test_claims_that_are_elsewhere_are_told_by_their_names() -> None:
    claims = {"sub": "1", "nonce": "n", "exp": 2**31, "_claim_names": {"groups": "src1"}, "address": {"street": "x"}}
    assert asserted_by(claims).attributes == {"_claim_names": ["groups"]}
    assert asserted_by({**claims, "_claim_names": "groups"}).attributes == {}


@given(said=st.none() | st.lists(st.sampled_from(["pwd", "otp", "mfa", "hwk"]), min_size=1), is_trusted=st.booleans())
def test_a_second_factor_counts_where_it_is_trusted_and_not_denied(said: list[str] | None, is_trusted: bool) -> None:
    provider = IdentityProvider(is_mfa_trusted=is_trusted)
    attributes = {} if said is None else {"amr": said}
    expected = is_trusted and (said is None or "mfa" in said)
    assert groups.counts_as_second_factor(provider, attributes) is expected


def test_entra_says_by_saml_which_methods_somebody_used() -> None:
    provider, password = IdentityProvider(is_mfa_trusted=True), "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"
    name = "http://schemas.microsoft.com/claims/authnmethodsreferences"
    assert not groups.counts_as_second_factor(provider, {name: [password]})
    assert groups.counts_as_second_factor(
        provider, {name: [password, "http://schemas.microsoft.com/claims/multipleauthn"]}
    )


def test_a_sign_in_gives_the_role_of_the_groups_and_takes_it_again(
    tenant: Tenant, row: IdentityProvider, domain: str
) -> None:
    change(tenant, Edit("Admins", Role.ADMIN), Edit("Staff", Role.MEMBER))
    email = f"ada@{domain}"
    ada = arrive(row, email).user
    assert role_of(tenant, ada) == Role.VIEWER  # of newcomers
    arrive(row, email, attributes={"groups": ["Staff", "Admins"]})
    assert role_of(tenant, ada) == Role.ADMIN
    arrive(row, email, attributes={"groups": ["Staff"]})
    assert role_of(tenant, ada) == Role.MEMBER
    arrive(row, email)  # in none: providers leave the attribute out
    assert role_of(tenant, ada) == Role.VIEWER
    with scope(tenant.organization):
        event = AuditEvent.objects.filter(action=actions.MEMBER_ROLE_CHANGED.name).order_by("id").first()
        assert event is not None
    assert (event.actor["kind"], event.reason) == ("system", "In Admins, says Okta.")


def test_too_many_groups_are_noted_and_not_taken_for_none(tenant: Tenant, row: IdentityProvider, domain: str) -> None:
    change(tenant, Edit("Admins", Role.ADMIN))
    email = f"ada@{domain}"
    ada = arrive(row, email, attributes={"groups": ["Admins"]}).user
    arrive(row, email, attributes=LINK)
    assert role_of(tenant, ada) == Role.ADMIN
    with scope(tenant.organization):
        last = SignIn.objects.order_by("-id")[0]
        assert (last.state, last.code) == (SignIn.State.DONE, "groups_left_out")
        services.remove(actor=tenant.actor, provider_id=row.pk)
        assert not PersonGroups.objects.exists()
    assert role_of(tenant, ada) == Role.ADMIN  # who is not spoken of any more stays as they are


def test_what_of_a_provider_counts_is_chosen_and_told(tenant: Tenant, row: IdentityProvider) -> None:
    with scope(tenant.organization):
        for _ in range(2):
            trust.choose(actor=tenant.actor, provider_id=row.pk, groups_attribute=" teams ", is_mfa_trusted=True)
        [event] = AuditEvent.objects.filter(action=actions.PROVIDER_CHANGED.name)
        with pytest.raises(Invalid):
            trust.choose(actor=tenant.actor, provider_id=row.pk, groups_attribute="x" * 256, is_mfa_trusted=True)
    assert event.changes == {"groups_attribute": ["", "teams"], "is_mfa_trusted": [False, True]}
