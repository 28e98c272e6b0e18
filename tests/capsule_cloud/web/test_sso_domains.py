"""The console's domains: what an empty page teaches, the record to copy, and live what DNS has instead."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape
from playwright.sync_api import Browser, expect

from tenancy.models import User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.sso.domains import services
from tenancy.sso.domains.evidence import REMEDIES, remedy_of
from tenancy.sso.models import ExternalIdentity, VerifiedDomain
from tests.capsule_cloud.web.browser import visit
from tests.capsule_cloud.web.conftest import SignIn
from tests.capsule_cloud.web.sso_things import put, put_provider
from tests.factories import Tenant, add_member
from tests.live import LiveServer
from tests.tenancy.sso.conftest import lost, name, verified, write_record, zone
from tests.zones import Zone

__all__ = ["name", "zone"]
Page = Callable[..., str]


@pytest.fixture
def domain(tenant: Tenant, name: str) -> VerifiedDomain:
    """A domain that was added just now."""
    return put(tenant, name)


def test_an_empty_page_teaches(page: Page) -> None:
    text = page("sso/domains/")
    for part in ("Prove your first domain", "Copy one TXT record", "Watch it arrive", "Add domain"):
        assert part in text


def test_the_settings_lead_to_the_domains(page: Page, viewer: Client) -> None:
    assert 'sso/"' in page("settings/")
    assert "sso/domains/" in page("sso/")
    assert 'sso/"' not in page("settings/", browser=viewer)


def test_a_domain_is_added_and_its_record_is_there_to_copy(tenant: Tenant, post: Page, name: str) -> None:
    text = post("sso/domains/new/", {"domain": name.upper()})
    with scope(tenant.organization):
        added = VerifiedDomain.objects.get()
    for part in (f"_capsule-challenge.{name}", f"capsule-domain-verification={added.token}", "waiting for the record"):
        assert part in text
    assert "We look for the first time" in text


@pytest.mark.parametrize("typed", ["gmail.com", "github.io", "https://acme.com", "acme", "*.acme.com", "x" * 254])
def test_what_is_no_domain_of_theirs_is_refused_at_its_field(post: Page, typed: str) -> None:
    text = post("sso/domains/new/", {"domain": typed}, status=422)
    assert 'aria-invalid="true"' in text
    assert 'id="id_domain_error"' in text


def test_a_domain_that_is_there_already_is_said(domain: VerifiedDomain, post: Page) -> None:
    assert "is in the list already" in post("sso/domains/new/", {"domain": domain.domain}, status=422)


def test_people_read_both_spellings_of_a_domain(tenant: Tenant, page: Page, name: str) -> None:
    domain = put(tenant, f"bücher-{name}")
    for text in (page("sso/domains/"), page(f"sso/domains/{domain.pk}/")):
        assert f"bücher-{name}" in text
        assert domain.domain in text


def test_a_check_shows_what_stands_there_instead_as_text(
    domain: VerifiedDomain, zone: Zone, page: Page, post: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "WAIT", timedelta(hours=1))
    zone.texts[f"_capsule-challenge.{domain.domain}"] = ["<script>alert(1)</script>", ""]
    text = post(f"sso/domains/{domain.pk}/check/")
    for part in ("&lt;script&gt;alert(1)&lt;/script&gt;", "(empty)", "but not this one", "Add one more TXT record"):
        assert part in text
    assert "<script>alert" not in text
    assert "We looked a moment ago" in post(f"sso/domains/{domain.pk}/check/")
    assert "but not this one" in page("sso/domains/")


def test_a_check_that_finds_the_record_says_so(domain: VerifiedDomain, zone: Zone, page: Page, post: Page) -> None:
    write_record(zone, domain)
    assert f"{domain.domain} is yours." in post(f"sso/domains/{domain.pk}/check/")
    text = page(f"sso/domains/{domain.pk}/")
    assert "hx-trigger" not in text
    assert "Leave it in your DNS" in text


@pytest.mark.parametrize("code", [code for code in REMEDIES if code != "held"])
def test_every_failure_has_its_remedy(tenant: Tenant, page: Page, name: str, code: str) -> None:
    seen = {"last_checked_at": timezone.now(), "last_code": code, "last_result": "We found <nothing>."}
    text = page(f"sso/domains/{put(tenant, name, **seen).pk}/")
    assert "We found &lt;nothing&gt;." in text
    assert escape(remedy_of(code, name)) in text


def test_a_domain_of_another_organization_is_told_with_the_way_out(
    tenant: Tenant, stranger: Tenant, zone: Zone, page: Page, name: str
) -> None:
    verified(stranger, zone, name)
    text = page(f"sso/domains/{verified(tenant, zone, name).pk}/")
    assert "another organization has verified" in text
    assert REMEDIES["held"] in text
    assert stranger.organization.name not in text


def test_a_missing_and_a_lost_record_are_warnings_and_say_that_nobody_is_locked_out(
    tenant: Tenant, zone: Zone, page: Page, name: str
) -> None:
    since = {"state": "verified", "verified_at": timezone.now(), "missing_since": timezone.now()}
    text = page(f"sso/domains/{put(tenant, f'a.{name}', **since).pk}/")
    assert "The domain stays verified" in text
    domain = lost(tenant, zone, name)
    for text in (page("sso/domains/"), page(f"sso/domains/{domain.pk}/")):
        assert "Nobody is locked out" in text


def test_a_page_asks_again_only_while_we_look(tenant: Tenant, page: Page, domain: VerifiedDomain) -> None:
    assert 'hx-trigger="every 5s"' in page(f"sso/domains/{domain.pk}/")
    with scope(tenant.organization):
        VerifiedDomain.objects.update(due_at=None)
    text = page(f"sso/domains/{domain.pk}/")
    assert "hx-trigger" not in text
    assert "We look no more by ourselves" in text


def test_a_domain_is_removed(page: Page, post: Page, domain: VerifiedDomain) -> None:
    assert "Whoever proves it next has it." in page(f"sso/domains/{domain.pk}/remove/")
    assert "is removed." in post(f"sso/domains/{domain.pk}/remove/")
    page(f"sso/domains/{domain.pk}/", 404)
    page(f"sso/domains/{domain.pk}/remove/", 404)


def test_removing_says_how_many_people_cannot_sign_in_then(tenant: Tenant, page: Page, domain: VerifiedDomain) -> None:
    text = page(f"sso/domains/{domain.pk}/remove/")
    assert "no longer sign in" not in text
    provider = put_provider(tenant)
    for n, address in enumerate((f"a@{domain.domain}", f"b@{domain.domain}", f"c@other-{domain.domain}")):
        user = add_member(tenant, Role.VIEWER)
        User.objects.filter(pk=user.pk).update(email=address)
        with scope(tenant.organization):
            ExternalIdentity.objects.create(provider=provider, subject=str(n), user=user)
    assert "2 people can no longer sign in" in page(f"sso/domains/{domain.pk}/remove/")


def test_another_organization_s_domain_is_not_there(
    stranger: Tenant, page: Page, owner: Client, home: str, zone: Zone, name: str
) -> None:
    theirs = put(stranger, name)
    page(f"sso/domains/{theirs.pk}/", 404)
    for path in ("check/", "remove/"):
        assert owner.post(f"{home}sso/domains/{theirs.pk}/{path}").status_code == 404
    assert not zone.asked


def test_admins_look_after_domains(tenant: Tenant, sign_in: SignIn, post: Page, name: str) -> None:
    admin = sign_in(add_member(tenant, Role.ADMIN))
    assert name in post("sso/domains/new/", {"domain": name}, browser=admin)


@pytest.fixture
def waiting(live_tenant: Tenant, name: str) -> Iterator[VerifiedDomain]:
    """A domain that the live server shows as waiting."""
    yield put(live_tenant, name, due_at=timezone.now() + timedelta(hours=1))
    with scope(live_tenant.organization):
        VerifiedDomain.objects.all().delete()


@pytest.mark.browser
@pytest.mark.usefixtures("may_wait")
def test_the_page_says_by_itself_when_the_record_has_arrived(
    live: LiveServer, live_tenant: Tenant, chromium: Browser, zone: Zone, waiting: VerifiedDomain
) -> None:
    path = f"/o/{live_tenant.organization.slug}/sso/domains/{waiting.pk}/"
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        page = visitor.go(path)
        expect(page.get_by_text("waiting for the record")).to_be_visible()
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy the value").click()
        value = f"capsule-domain-verification={waiting.token}"
        assert page.evaluate("navigator.clipboard.readText()") == value
        assert visitor.serious_violations() == []
        write_record(zone, waiting)
        services.check(actor=live_tenant.actor, organization_id=live_tenant.organization.pk, domain_id=waiting.pk)
        expect(page.get_by_text(f"{waiting.domain} is yours.")).to_be_visible()
        expect(page.locator("#announce")).to_have_text(f"{waiting.domain} is verified")
        assert visitor.serious_violations() == []
        assert visitor.complaints == []


@pytest.mark.browser
@pytest.mark.usefixtures("may_wait")
def test_every_page_of_domains_is_accessible_and_fits_a_phone(
    live: LiveServer, live_tenant: Tenant, chromium: Browser, waiting: VerifiedDomain, name: str
) -> None:
    moment = timezone.now()
    held = {"last_code": "held", "last_result": "Another organization has it.", "last_checked_at": moment}
    gone = {"state": "lost", "missing_since": moment, "lost_at": moment, "verified_at": moment}
    long = put(live_tenant, f"{'a' * 60}.{'b' * 60}.{name}", **held)
    missing = put(live_tenant, f"x.{name}", **gone, last_code="other_values", last_seen=["v=spf1 " + "x" * 190])
    home = f"/o/{live_tenant.organization.slug}/sso/domains/"
    paths = ("", "new/", f"{waiting.pk}/", f"{long.pk}/", f"{missing.pk}/", f"{missing.pk}/remove/")
    with visit(chromium, live.url, live_tenant.owner, viewport={"width": 390, "height": 844}) as visitor:
        for path in paths:
            visitor.go(home + path)
            assert visitor.overflow() <= 0, path
            assert visitor.serious_violations() == []
        assert visitor.complaints == []
