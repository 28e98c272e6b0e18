"""Who may open the console's pages, and what a page never contains."""

import re

from allauth.mfa.models import Authenticator
from django.test import Client

from tenancy.scope import scope
from tenancy.selectors import organization
from tenancy.services import organizations
from tests.factories import Tenant
from tests.trail import audited

PAGES = (
    "",
    "projects/",
    "projects/new/",
    "projects/default/",
    "keys/",
    "keys/new/",
    "members/",
    "members/invite/",
    "members/leave/",
    "memory/",
    "sessions/",
    "usage/",
    "billing/",
    "billing/plan/",
    "billing/invoices/",
    "billing/credits/",
    "billing/caps/",
    "billing/details/",
    "audit/",
    "settings/",
)
ONLY_POST = ("settings/name/", "settings/security/", "settings/restore/", "sessions/default/seal/")


def test_an_owner_sees_every_page_and_no_cache_keeps_it(owner: Client, home: str) -> None:
    for page in PAGES:
        answer = owner.get(home + page)
        assert answer.status_code == 200, page
        assert "no-store" in answer["Cache-Control"]


def test_a_viewer_sees_no_button_for_what_they_may_not_do(viewer: Client, home: str) -> None:
    for page in ("", "projects/", "projects/default/", "keys/", "members/", "settings/"):
        text = viewer.get(home + page).content.decode()
        for word in ("keys/new/", "members/invite/", "projects/new/", "/archive/", "/revoke/", "/rotate/", "/close/"):
            assert word not in text


def test_what_changes_things_answers_to_post_alone(owner: Client, home: str) -> None:
    for page in ONLY_POST:
        assert owner.get(home + page).status_code == 405


def test_a_post_without_csrf_token_changes_nothing(tenant: Tenant, home: str) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(tenant.owner)
    answer = browser.post(home + "settings/name/", {"name": "Forged"})
    assert answer.status_code == 403
    assert "You may not do that" in answer.content.decode()
    with scope(tenant.organization):
        assert organization().name != "Forged"


def test_the_switcher_lists_only_own_organizations(tenant: Tenant, stranger: Tenant, owner: Client, home: str) -> None:
    second = organizations.create(user=tenant.owner, name="Second Home")
    text = owner.get(home).content.decode()
    assert f"/o/{second.slug}/" in text
    assert stranger.organization.slug not in text


def test_required_mfa_locks_out_whoever_has_no_second_factor(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        organizations.update(actor=tenant.actor, is_mfa_required=True)
    for page in PAGES:
        assert owner.get(home + page)["Location"] == "/account/2fa/"
    Authenticator.objects.create(user=tenant.owner, type=Authenticator.Type.TOTP, data={"secret": "sealed"})
    assert owner.get(home).status_code == 200


def test_a_closed_organization_shows_its_settings_alone(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        organizations.close(actor=tenant.actor)
    assert owner.get(home + "keys/")["Location"] == home + "settings/"
    assert "Restore the organization" in owner.get(home + "settings/").content.decode()


def test_public_pages_send_a_strict_policy_and_keep_to_it(client: Client, db: None) -> None:
    for path in ("/", "/account/login/", "/account/signup/", "/account/password/reset/", "/outbox/"):
        _assert_nothing_inline(client, path)


def test_console_pages_send_a_strict_policy_and_keep_to_it(owner: Client, home: str) -> None:
    for page in PAGES:
        _assert_nothing_inline(owner, home + page)


def test_every_write_from_the_console_says_where_it_came_from(tenant: Tenant, owner: Client, home: str) -> None:
    owner.post(home + "projects/new/", {"name": "Traced"}, headers={"User-Agent": "TestBrowser/1"})
    with scope(tenant.organization):
        [event] = audited("organization.project.created", target="Traced")
    assert event.actor["label"] == tenant.owner.email
    assert event.context["user_agent"] == "TestBrowser/1"
    assert event.context["ip"] == "127.0.0.1"
    assert event.context["request_id"]


def _assert_nothing_inline(browser: Client, path: str) -> None:
    answer = browser.get(path)
    policy, text = answer["Content-Security-Policy"], answer.content.decode()
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"\sstyle=|<style|\son\w+=\"|javascript:", text)
    for script in re.findall(r"<script[^>]*>", text):
        assert "src=" in script or "application/json" in script
