"""A contract on a page: for those who may see money, before its start, while it runs, and without one."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser

from billing.invoicing.services import Offer, sign_contract
from tenancy.roles import Role
from tenancy.scope import scope
from tests.billing.invoicing.conftest import sign
from tests.capsule_cloud.web.browser import visit
from tests.capsule_cloud.web.conftest import SignIn, queries
from tests.factories import Tenant, add_member
from tests.live import LiveServer

PHONE = {"width": 360, "height": 740}
TERMS = {"po_number": "PO 4711", "contact": "Ada Bergström, ada@us.example", "seat_price": 5_50, "seats": 120}


def sign_ramp(tenant: Tenant) -> None:
    """Signed 70 days ago: three months with a small commit, then nine with a large one."""
    start = timezone.now() - timedelta(days=70)
    sign(tenant, reference="ACME-2026", starts_at=start, steps=[(3, 9_000_00), (9, 90_000_00)], **TERMS)


def test_a_contract_says_what_is_committed_used_and_to_be_expected(tenant: Tenant, owner: Client, home: str) -> None:
    sign_ramp(tenant)
    text = owner.get(f"{home}billing/contract/").content.decode()
    for said in (
        *(
            "ACME-2026",
            "$9,000.00",
            "$90,000.00",
            "PO 4711",
            "Ada Bergström, ada@us.example",
            "$5.50 a month",
            ">$5.50<",
            "15¢ a GB",
        ),
        *("True-up to expect", "What is missing, with the last invoice of its step", "Committed, not used yet"),
    ):
        assert said in text, said
    assert f"{home}billing/contract/" in owner.get(f"{home}billing/").content.decode()  # a tab


def test_a_contract_to_come_says_when_it_starts(tenant: Tenant, owner: Client, home: str) -> None:
    start = timezone.now() + timedelta(days=9)
    with scope(tenant.organization):
        sign_contract(actor=tenant.actor, offer=Offer("C-1", "enterprise", start, [(12, 100)], fee=1))
    assert f"Starts on {start:%-d %B %Y}" in owner.get(f"{home}billing/contract/").content.decode()


def test_without_a_contract_there_is_no_tab_but_a_page(owner: Client, home: str) -> None:
    assert f"{home}billing/contract/" not in owner.get(f"{home}billing/").content.decode()
    assert "No contract" in owner.get(f"{home}billing/contract/").content.decode()


@pytest.mark.parametrize(
    ("role", "status"), [(Role.BILLING, 200), (Role.ADMIN, 200), (Role.MEMBER, 403), (Role.VIEWER, 403)]
)
def test_those_who_may_see_money_see_it(role: Role, status: int, tenant: Tenant, sign_in: SignIn, home: str) -> None:
    sign_ramp(tenant)
    assert sign_in(add_member(tenant, role, "Somebody")).get(f"{home}billing/contract/").status_code == status


def test_a_stranger_s_contract_is_not_there(tenant: Tenant, stranger: Tenant, sign_in: SignIn, home: str) -> None:
    sign_ramp(stranger)
    assert "ACME-2026" not in sign_in(tenant.owner).get(f"{home}billing/contract/").content.decode()
    assert sign_in(stranger.owner).get(f"{home}billing/contract/").status_code == 404


def test_a_long_contract_costs_no_more_queries_than_a_short_one(
    tenant: Tenant, stranger: Tenant, sign_in: SignIn
) -> None:
    counts = []
    for one, months in ((tenant, 2), (stranger, 60)):
        sign(one, starts_at=timezone.now() - timedelta(days=1), steps=[(months, 1_000_00)])
        counts.append(queries(sign_in(one.owner), f"/o/{one.organization.slug}/billing/contract/"))
    assert counts[0] == counts[1]


@pytest.mark.browser
@pytest.mark.usefixtures("may_wait")
def test_everybody_can_read_the_page(live: LiveServer, live_tenant: Tenant, chromium: Browser) -> None:
    sign_ramp(live_tenant)
    path = f"/o/{live_tenant.organization.slug}/billing/contract/"
    with visit(chromium, live.url, live_tenant.owner) as visitor:
        visitor.go(path)
        assert visitor.serious_violations() == []
        assert visitor.complaints == []
    with visit(chromium, live.url, live_tenant.owner, viewport=PHONE, has_touch=True) as visitor:
        visitor.go(path)
        assert visitor.overflow() <= 0
