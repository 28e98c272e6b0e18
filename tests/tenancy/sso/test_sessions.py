"""How long a session lasts, and whose second factor counts."""

import time
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY as RECORDS
from allauth.account.internal.userkit import user_id_to_str
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret, hotp_value, yield_hotp_counters_from_time
from allauth.usersessions.models import UserSession
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from django.utils.http import urlencode

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Invalid
from tenancy.models import Membership, Organization, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import organizations
from tenancy.sso.models import IdentityProvider, SignIn
from tests.factories import PASSWORD, Tenant, add_member, make_tenant, make_user
from tests.identity_provider import SamlProvider
from tests.tenancy.sso.test_views import come_back, sent_away, signed_in

HOUR = 3600


@pytest.fixture
def home(tenant: Tenant) -> str:
    """The organization's first page."""
    return f"/o/{tenant.organization.slug}/"


def demand(tenant: Tenant, **columns: Any) -> None:
    """Set columns of the organization."""
    with scope(tenant.organization):
        Organization.objects.update(**columns)


def own_session(user: User) -> Client:
    """A browser that came by a password just now."""
    client = Client()
    client.force_login(user)
    session = client.session
    session[RECORDS] = [{"method": "password", "at": time.time()}]
    session[f"{RECORDS}_user"] = user_id_to_str(user)
    session.save()
    return client


def grow_old(client: Client, hours: float) -> None:
    """Have shown who they are that much earlier."""
    session = client.session
    session[RECORDS] = [{**one, "at": one["at"] - hours * HOUR} for one in session[RECORDS]]
    session.save()


def person(tenant: Tenant) -> User:
    """Whoever came by the provider."""
    with scope(tenant.organization):
        return Membership.objects.exclude(user=tenant.owner).get().user


def code_of(secret: str) -> str:
    """What the authenticator app shows."""
    return str(hotp_value(secret, next(yield_hotp_counters_from_time()))).zfill(6)


def test_after_its_hours_a_session_leads_to_signing_in_and_back_to_the_page(tenant: Tenant, home: str) -> None:
    demand(tenant, session_hours=8)
    client = own_session(tenant.owner)
    grow_old(client, 7.9)
    assert client.get(f"{home}keys/").status_code == 200
    grow_old(client, 0.2)
    answer = client.get(f"{home}keys/?q=a")
    assert answer["Location"] == "/account/login/?" + urlencode({"next": f"{home}keys/?q=a"})
    assert [str(one) for one in get_messages(answer.wsgi_request)] == [
        f"{tenant.organization.name} has everybody sign in again after 8 hours."
    ]
    again = client.post(answer["Location"], {"login": tenant.owner.email, "password": PASSWORD})
    assert again["Location"] == f"{home}keys/?q=a"
    assert client.get(again["Location"]).status_code == 200


def test_a_form_that_comes_too_late_changes_nothing(tenant: Tenant, home: str) -> None:
    demand(tenant, session_hours=1)
    client = own_session(tenant.owner)
    grow_old(client, 1)
    answer = client.post(f"{home}settings/name/", {"name": "Late"})
    assert answer["Location"] == "/account/login/?" + urlencode({"next": home})
    with scope(tenant.organization):
        assert Organization.objects.get().name != "Late"


def test_other_organizations_do_not_feel_it(tenant: Tenant, home: str) -> None:
    other = make_tenant()
    with scope(other.organization):
        Membership.objects.create(user=tenant.owner, role=Role.VIEWER)
    demand(tenant, session_hours=1)
    client = own_session(tenant.owner)
    grow_old(client, 2)
    assert client.get(f"/o/{other.organization.slug}/").status_code == 200
    assert client.get(home).status_code == 302


def test_who_has_just_signed_up_is_counted_from_then(tenant: Tenant, home: str) -> None:
    demand(tenant, session_hours=1)
    client = Client()
    client.force_login(tenant.owner)  # as signing up does: without a record of how
    UserSession.objects.create(user=tenant.owner, session_key=client.session.session_key, ip="127.0.0.1")
    assert client.get(home).status_code == 200
    UserSession.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert client.get(home).status_code == 302


def test_a_session_by_the_provider_goes_back_there(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str, home: str
) -> None:
    demand(tenant, session_hours=1)
    for headers, ask in (({}, ""), ({"HX-Request": "true"}, "ask=1&")):
        client = Client()
        signed_in(client, row, idp, f"ada@{domain}")
        grow_old(client, 1)
        answer = client.get(f"{home}keys/", headers=headers)
        assert answer["Location"] == f"/sso/saml/{row.pk}/login/?{ask}" + urlencode({"next": f"{home}keys/"})
        assert "_auth_user_id" not in client.session


def test_the_provider_may_have_a_session_end_sooner(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str, home: str
) -> None:
    client = Client()
    said = idp.says(row, f"ada@{domain}", sent_away(client, row)).but(session_until=2 * HOUR)
    come_back(client, row, idp, said)
    assert client.get(f"{home}keys/").status_code == 200
    with scope(tenant.organization):
        ends_at = SignIn.objects.get().session_ends_at
    assert ends_at is not None
    session = client.session
    assert session["sso"]["ends_at"] == ends_at.timestamp()
    session["sso"] = {**session["sso"], "ends_at": time.time() - 1}
    session.save()
    answer = client.get(f"{home}keys/")
    assert answer["Location"] == f"/sso/saml/{row.pk}/login/?" + urlencode({"next": f"{home}keys/"})
    assert "_auth_user_id" not in client.session


def test_an_end_that_is_no_time_is_refused(row: IdentityProvider, idp: SamlProvider, domain: str) -> None:
    client = Client()
    said = idp.says(row, f"ada@{domain}", sent_away(client, row)).but(session_until=-2 * HOUR)
    with pytest.raises(AssertionError):  # it is over before it begins
        come_back(client, row, idp, said)


def test_how_long_is_bounded_and_told(tenant: Tenant) -> None:
    with scope(tenant.organization):
        organizations.update(actor=tenant.actor, session_hours=8)
        organizations.update(actor=tenant.actor, session_hours=0)
        told = AuditEvent.objects.filter(action=actions.ORGANIZATION_UPDATED.name).order_by("id")
        assert [one.changes for one in told] == [{"session_hours": [None, 8]}, {"session_hours": [8, None]}]
        for wrong in (-1, organizations.LONGEST_SESSION + 1):
            with pytest.raises(Invalid):
                organizations.update(actor=tenant.actor, session_hours=wrong)


@pytest.mark.parametrize(
    ("is_trusted", "methods", "counts"),
    [(True, [], True), (True, ["pwd", "mfa"], True), (True, ["pwd"], False), (False, ["pwd", "mfa"], False)],
)
def test_a_second_factor_of_the_provider_spares_ours_where_it_counts(
    tenant: Tenant,
    row: IdentityProvider,
    idp: SamlProvider,
    domain: str,
    home: str,
    is_trusted: bool,
    methods: list[str],
    counts: bool,
) -> None:
    demand(tenant, is_mfa_required=True)
    with scope(tenant.organization):
        IdentityProvider.objects.update(is_mfa_trusted=is_trusted)

    def come() -> tuple[Client, HttpResponse]:
        client = Client()
        said = idp.says(row, f"ada@{domain}", sent_away(client, row)).but(
            attributes={"amr": methods} if methods else {}
        )
        return client, come_back(client, row, idp, said)

    client, answer = come()
    assert answer["Location"] == "/"
    assert client.get(home).status_code == (200 if counts else 302)
    TOTP.activate(person(tenant), generate_totp_secret())
    client, answer = come()
    assert answer["Location"].startswith("/" if counts else "/account/2fa/authenticate/")
    assert client.get(home).status_code == (200 if counts else 302)


def test_who_has_nothing_but_the_provider_sets_up_an_app_and_nothing_else_of_the_account(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str, home: str
) -> None:
    client = Client()
    signed_in(client, row, idp, f"ada@{domain}")
    assert client.get("/account/2fa/totp/activate/")["Location"] == "/"  # nobody wants one
    assert client.get("/account/2fa/")["Location"] == "/"
    demand(tenant, is_mfa_required=True)
    assert client.get(home)["Location"] == "/account/2fa/"
    assert client.get("/account/2fa/")["Location"] == "/account/2fa/totp/activate/"
    for barred in ("/account/2fa/webauthn/add/", "/account/password/set/", "/account/email/", "/account/"):
        assert client.get(barred)["Location"] == "/", barred
    form = client.get("/account/2fa/totp/activate/")
    assert form.status_code == 200
    code = code_of(client.session["mfa.totp.secret"])
    done = client.post("/account/2fa/totp/activate/", {"code": code})
    assert done["Location"] == "/account/2fa/recovery-codes/"
    assert client.get(done["Location"]).status_code in {200, 302}  # shown once they have shown the code again
    assert client.get(home).status_code == 200
    assert client.get("/account/2fa/totp/deactivate/")["Location"] == "/"
    assert client.get("/account/2fa/totp/activate/")["Location"] == "/"


@pytest.mark.parametrize("why", ["a password", "another organization"])
def test_an_account_with_a_life_of_its_own_sets_it_up_as_itself(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str, home: str, why: str
) -> None:
    demand(tenant, is_mfa_required=True)
    client = Client()
    signed_in(client, row, idp, f"ada@{domain}")
    ada = person(tenant)
    if why == "a password":
        ada.password = make_user().password
        ada.save()
        client = Client()
        signed_in(client, row, idp, f"ada@{domain}")
    else:
        other = make_tenant()
        with scope(other.organization):
            Membership.objects.create(user=ada, role=Role.VIEWER)
    answer = client.get(home, follow=True)
    assert answer.redirect_chain == [("/account/2fa/", 302)]
    assert b"only you can set it up, signed in as yourself" in answer.content
    assert client.get("/account/2fa/totp/activate/")["Location"] == "/"


def test_a_members_own_session_sets_it_up_as_before(tenant: Tenant, home: str) -> None:
    demand(tenant, is_mfa_required=True)
    client = own_session(add_member(tenant, Role.VIEWER))
    assert client.get(home)["Location"] == "/account/2fa/"
    assert client.get("/account/2fa/").status_code == 200


def test_a_password_in_a_browser_that_a_provider_has_half_let_in_opens_a_session_of_ones_own(
    tenant: Tenant, row: IdentityProvider, idp: SamlProvider, domain: str, home: str
) -> None:
    signed_in(Client(), row, idp, f"ada@{domain}")
    TOTP.activate(person(tenant), generate_totp_secret())
    demand(tenant, is_sso_required=True)
    client = Client()
    assert signed_in(client, row, idp, f"ada@{domain}")["Location"].startswith("/account/2fa/")
    victim = add_member(tenant, Role.ADMIN)
    session = client.session
    del session["account_login"]  # as allauth does after a quarter of an hour
    session.save()
    client.post("/account/login/", {"login": victim.email, "password": PASSWORD})
    assert client.session["_auth_user_id"] == str(victim.pk)
    assert client.get(home)["Location"].startswith(f"/sso/saml/{row.pk}/login/?ask=1")
    assert client.get("/account/").status_code == 200
