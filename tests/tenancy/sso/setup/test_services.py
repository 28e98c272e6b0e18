"""Setup links: one browser, three days, and no longer than whoever made it may do the same."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from tenancy.audit.catalogue.action import SECRETS
from tenancy.audit.models import AuditEvent
from tenancy.errors import Invalid, LimitReached, NotFound
from tenancy.models import Membership, Organization, User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import members
from tenancy.sso.models import IdentityProvider
from tenancy.sso.providers import services as providers
from tenancy.sso.setup import selectors, services
from tenancy.sso.setup.models import ProviderSetup, SetupLink
from tests.factories import Tenant, add_member
from tests.identity_provider import SamlProvider
from tests.threads import at_once
from tests.trail import audited


def made(tenant: Tenant, **more: Any) -> services.NewLink:
    with scope(tenant.organization):
        wanted: dict[str, Any] = {"user": tenant.owner, "name": "Ann, IT"} | more
        return services.make(actor=tenant.actor, **wanted)


def told(tenant: Tenant) -> list[tuple[str, str, str]]:
    """What the trail has of setup links: the action, who did it, and why."""
    with scope(tenant.organization):
        events = audited("sso.setup_link.")
    return [(one.action, one.actor["kind"], one.reason) for one in events]


def test_one_browser_takes_a_link_and_keeps_a_secret_of_its_own(tenant: Tenant) -> None:
    new = made(tenant)
    assert services.look(new.secret).organization_name == tenant.organization.name
    guest, kept = services.open_link(new.secret)
    again = services.guest_with(organization_id=guest.organization_id, link_id=guest.link.pk, kept=kept)
    assert (again.actor.kind, again.actor.id) == ("setup_link", str(new.link.pk))
    assert "Ann, IT" in again.actor.label
    assert again.maker == tenant.owner.email
    for wrong in ("", new.secret, kept[:-1]):
        with pytest.raises(services.LinkUnknown):
            services.guest_with(organization_id=guest.organization_id, link_id=guest.link.pk, kept=wrong)
    assert told(tenant) == [("sso.setup_link.made", "user", ""), ("sso.setup_link.opened", "setup_link", "")]


def test_another_browser_is_refused_and_the_organization_hears_of_it(tenant: Tenant) -> None:
    new = made(tenant)
    services.open_link(new.secret)
    for ask in (services.look, services.open_link):
        with pytest.raises(services.LinkOver, match="in use in another browser") as refused:
            ask(new.secret)
        assert refused.value.maker == tenant.owner.email
    assert [kind for kind, *_ in told(tenant)] == [
        *("sso.setup_link.made", "sso.setup_link.opened"),
        *("sso.setup_link.refused", "sso.setup_link.refused"),
    ]


@pytest.mark.django_db(transaction=True)
def test_of_two_browsers_that_begin_at_once_one_does(tenant: Tenant) -> None:
    new = made(tenant)
    came = at_once(*[lambda: services.open_link(new.secret)] * 2)
    assert sorted(type(one).__name__ for one in came) == ["LinkOver", "tuple"]


def test_neither_secret_is_stored_nor_told(tenant: Tenant) -> None:
    new = made(tenant)
    _, kept = services.open_link(new.secret)
    assert SECRETS.search(new.secret.encode())  # no event could tell it
    with scope(tenant.organization):
        row: dict[str, Any] = SetupLink.objects.values().get()  # type: ignore[assignment]  # a row as it is stored
        trail = "".join(AuditEvent.objects.values_list("body", flat=True))
    for secret in (new.secret, kept):
        assert secret not in str(row)
        assert secret.encode() not in bytes(row["digest"]) + bytes(row["browser_digest"])
        assert secret not in trail


def test_a_guess_is_nobodys(tenant: Tenant) -> None:
    made(tenant)
    for guess in ("", "x", "\x00", "ü" * 5000, "\udcff"):
        for ask in (services.look, services.open_link):
            with pytest.raises(services.LinkUnknown):
                ask(guess)


def _revoked(tenant: Tenant, link: SetupLink, maker: User) -> None:
    services.revoke(actor=tenant.actor, link_id=link.pk)


def _expired(tenant: Tenant, link: SetupLink, maker: User) -> None:
    SetupLink.objects.filter(pk=link.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def _closed(tenant: Tenant, link: SetupLink, maker: User) -> None:
    Organization.objects.update(closed_at=timezone.now())


def _demoted(tenant: Tenant, link: SetupLink, maker: User) -> None:
    members.change_role(actor=tenant.actor, actor_role=Role.OWNER, user_id=maker.pk, role=Role.MEMBER)


def _removed(tenant: Tenant, link: SetupLink, maker: User) -> None:
    Membership.objects.filter(user=maker).delete()


def _inactive(tenant: Tenant, link: SetupLink, maker: User) -> None:
    User.objects.filter(pk=maker.pk).update(is_active=False)


def _gone(tenant: Tenant, link: SetupLink, maker: User) -> None:
    SetupLink.objects.filter(pk=link.pk).update(made_by=None)


@pytest.mark.parametrize("ends", [_revoked, _expired, _closed, _demoted, _removed, _inactive, _gone])
def test_a_link_and_its_browser_end(tenant: Tenant, ends: Callable[[Tenant, SetupLink, User], None]) -> None:
    maker = add_member(tenant, Role.ADMIN)
    new, unopened = made(tenant, user=maker), made(tenant, user=maker)
    guest, kept = services.open_link(new.secret)
    with scope(tenant.organization):
        ends(tenant, new.link, maker)
        if ends in (_revoked, _expired, _gone):
            ends(tenant, unopened.link, maker)
    with pytest.raises(services.LinkOver):
        services.guest_with(organization_id=guest.organization_id, link_id=guest.link.pk, kept=kept)
    for ask in (services.look, services.open_link):
        with pytest.raises(services.LinkOver):
            ask(unopened.secret)


def test_a_link_whose_maker_lost_the_right_stays_ended_when_they_get_it_back(tenant: Tenant) -> None:
    maker = add_member(tenant, Role.ADMIN)
    new = made(tenant, user=maker)
    for role in (Role.MEMBER, Role.ADMIN):
        with scope(tenant.organization):
            Membership.objects.filter(user=maker).update(role=role)
        with pytest.raises(services.LinkOver):
            services.look(new.secret)
    assert told(tenant)[-1] == (
        "sso.setup_link.revoked",
        "system",
        "Whoever made it may not set up single sign-on any more.",
    )


def test_a_link_is_mailed_where_an_address_is_given(
    tenant: Tenant, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        new = made(tenant, email=" It@Acme.com ")
    [sent] = mail.outbox
    assert sent.to == ["it@acme.com"]
    for part in (services.address(new.secret), tenant.organization.name, tenant.owner.email, "do not pass it on"):
        assert part in sent.body


def test_what_is_wrong_with_a_new_link_is_said(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    for field, wrong in (("name", {"name": " "}), ("name", {"name": "a\nb"}), ("email", {"email": "nobody"})):
        with pytest.raises(Invalid) as refused:
            made(tenant, **wrong)
        assert refused.value.field == field
    monkeypatch.setattr(services, "MOST_LINKS", 1)
    first = made(tenant)
    with pytest.raises(LimitReached, match="revoke one first"):
        made(tenant)
    with scope(tenant.organization):
        services.revoke(actor=tenant.actor, link_id=first.link.pk)
        with pytest.raises(NotFound):
            services.revoke(actor=tenant.actor, link_id=first.link.pk)
    made(tenant)


def test_of_setups_that_nobody_went_on_with_the_oldest_give_way(
    tenant: Tenant, stranger: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MOST_BEGUN", 2)
    metadata = SamlProvider().metadata()
    with scope(tenant.organization):
        kept = services.begin(vendor="okta", protocol="saml")
        added = providers.add(actor=tenant.actor, name="Okta", metadata_xml=metadata, provider_id=kept.pk)
        others = [services.begin(vendor="entra", protocol="oidc") for _ in range(3)]
        assert set(ProviderSetup.objects.all()) == {kept, *others[1:]}
        assert added.pk == kept.pk
        assert selectors.setup_of(kept.pk).vendor == "okta"
        with pytest.raises(NotFound):
            selectors.setup_of(others[0].pk)
        for wrong in ({"vendor": "acme", "protocol": "saml"}, {"vendor": "okta", "protocol": "cas"}):
            with pytest.raises(Invalid):
                services.begin(**wrong)
    with scope(stranger.organization), pytest.raises(NotFound):
        selectors.setup_of(kept.pk)


def test_progress_says_what_is_done(tenant: Tenant) -> None:
    with scope(tenant.organization):
        assert selectors.progress().done == 0
        providers.add(actor=tenant.actor, name="Okta", metadata_xml=SamlProvider().metadata())
        assert (selectors.progress().has_provider, selectors.progress().is_tested) == (True, False)
        IdentityProvider.objects.update(tested_at=timezone.now(), state="active")
        Organization.objects.update(is_sso_required=True)
        assert selectors.progress().done == 4
