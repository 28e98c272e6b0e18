"""The page of sign-ins: every answer by outcome and reason, and one of them step by step."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from capsule_cloud.web import sso_sign_ins
from capsule_cloud.web.sso_previews import CHECKS, OUTSIDE
from tenancy.scope import scope
from tenancy.sso.models import IdentityProvider, SignIn
from tenancy.sso.providers.reasons import REASONS
from tests.capsule_cloud.web import conftest as console
from tests.capsule_cloud.web.sso_things import put_provider
from tests.factories import Tenant

Page = Callable[..., str]


@pytest.fixture
def provider(tenant: Tenant) -> IdentityProvider:
    """A provider that was added just now."""
    return put_provider(tenant)


def trace(tenant: Tenant, provider: IdentityProvider, **columns: Any) -> SignIn:
    with scope(tenant.organization):
        values: dict[str, Any] = {"provider_version": 1, "expires_at": timezone.now()}
        return SignIn.objects.create(provider=provider, **values | columns)


def test_every_refusal_has_its_place_among_the_checks() -> None:
    placed = [code for _, codes in CHECKS for code in codes] + [*OUTSIDE]
    assert sorted(placed) == sorted(REASONS)


def test_sign_ins_are_found_by_outcome_reason_and_provider(
    tenant: Tenant, page: Page, provider: IdentityProvider
) -> None:
    assert "Nobody has come yet" in page("sso/sign-ins/")
    other = put_provider(tenant, name="Entra")
    trace(tenant, provider, state="done", email="ann@acme.com")
    trace(tenant, provider, state="refused", code="audience", email="bob@acme.com")
    trace(tenant, other, state="ended", email="cleo@acme.com")
    for query, seen in (
        ("", {"ann", "bob", "cleo"}),
        ("?outcome=done", {"ann"}),
        ("?outcome=refused", {"bob"}),
        ("?code=audience", {"bob"}),
        ("?outcome=done&code=audience", set()),
        (f"?provider={other.pk}", {"cleo"}),
    ):
        text = page(f"sso/sign-ins/{query}")
        assert {name for name in ("ann", "bob", "cleo") if f"{name}@acme.com" in text} == seen, query
    assert "No such sign-ins" in page("sso/sign-ins/?outcome=tested")
    for wrong in ("outcome=x", "code=x", "provider=x", "before=%00"):
        page(f"sso/sign-ins/?{wrong}", 404)


def test_older_ones_are_a_page_further(
    tenant: Tenant, page: Page, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sso_sign_ins, "PAGE_SIZE", 2)
    made = [trace(tenant, provider, state="done", email=f"no{number}@acme.com") for number in range(3)]
    first = page("sso/sign-ins/?outcome=done")
    assert "no2@" in first
    assert "no0@" not in first
    assert f"?outcome=done&amp;before={made[1].pk}" in first
    older = page(f"sso/sign-ins/?outcome=done&before={made[1].pk}")
    assert "no0@" in older
    assert "no1@" not in older


@pytest.mark.parametrize("code", ["signature", "foreign_domain", "nonce"])
def test_a_refusal_shows_how_far_it_came(tenant: Tenant, page: Page, provider: IdentityProvider, code: str) -> None:
    one = trace(tenant, provider, state="refused", code=code, detail="<b>", attributes={"<i>": ["<u>"]}, subject="00u")
    text = page(f"sso/sign-ins/{one.pk}/")
    failed = next(place for place, (_, codes) in enumerate(CHECKS) if code in codes)
    for part in (escape(REASONS[code].sentence), escape(REASONS[code].remedy), "&lt;b&gt;", "&lt;i&gt;", "&lt;u&gt;"):
        assert part in text
    counted = [text.count(word) for word in ("Passed:", "Failed:", "Not reached:")]
    assert counted == [failed, 1, len(CHECKS) - failed - 1]


@pytest.mark.parametrize(("state", "passed"), [("done", 7), ("tested", 5), ("answered", 3), ("ended", 0)])
def test_what_was_not_refused_shows_what_was_checked(
    tenant: Tenant, page: Page, provider: IdentityProvider, state: str, passed: int
) -> None:
    one = trace(tenant, provider, state=state, user=tenant.owner, in_response_to="_1")
    text = page(f"sso/sign-ins/{one.pk}/")
    assert (text.count("Passed:"), text.count("Failed:")) == (passed, 0)


def test_another_organization_s_sign_in_is_not_there(stranger: Tenant, page: Page) -> None:
    theirs = trace(stranger, put_provider(stranger), state="done", email="eve@acme.com")
    page(f"sso/sign-ins/{theirs.pk}/", 404)
    assert "eve@" not in page("sso/sign-ins/")


def test_the_list_costs_the_same_however_many_came(
    tenant: Tenant, owner: Client, home: str, provider: IdentityProvider
) -> None:
    trace(tenant, provider, state="done", user=tenant.owner)
    before = console.queries(owner, f"{home}sso/sign-ins/")
    for _ in range(3):
        trace(tenant, put_provider(tenant), state="refused", code="audience")
    assert console.queries(owner, f"{home}sso/sign-ins/") == before


def test_a_refused_test_is_said_on_the_provider_s_page(page: Page, provider: IdentityProvider) -> None:
    text = page(f"sso/providers/{provider.pk}/?refused=audience")
    assert f"Your test was refused: {escape(REASONS['audience'].sentence)}" in text
    assert "Your test was refused" not in page(f"sso/providers/{provider.pk}/?refused=%3Cscript%3E")
