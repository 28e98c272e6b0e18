"""The inbox of Stripe's events for staff: found, read without secrets, started again, and written down."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from admin_portal.base import HIDDEN, redacted
from admin_portal.models import StaffAct
from billing.models import BillingAccount, StripeEvent
from billing.services import replays
from billing.stripe_events import refresh
from tenancy.audit import actions
from tenancy.audit.services import Actor
from tenancy.errors import Invalid
from tenancy.scope import scope
from tests.admin_portal.conftest import REASON, Receive
from tests.billing.services import conftest as shopping
from tests.billing.services.conftest import Buy
from tests.capsule_cloud.web.conftest import queries
from tests.factories import Tenant
from tests.trail import audited

INBOX = "/staff/billing/stripeevent/"
STAFF = Actor("staff", "1", "sam@example.com")
shop, buy = shopping.shop, shopping.buy  # fixtures


def customer_of(tenant: Tenant, customer: str = "") -> str:
    customer = customer or f"cus_{tenant.organization.pk.hex}"
    with scope(tenant.organization):
        BillingAccount.objects.get_or_create(defaults={"stripe_customer_id": customer})
    return customer


def trail(tenant: Tenant) -> list[tuple[str, str, str, str]]:
    """What the customer reads of staff: what, by whom, at what, why."""
    with scope(tenant.organization):
        rows = audited(actor="staff")
        return [(one.action, one.actor["label"], one.target["id"], one.reason) for one in rows]


def shown(desk: Client, query: str = "") -> str:
    answer = desk.get(f"{INBOX}{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_list_says_what_waits_and_whose_it_is(desk: Client, tenant: Tenant, receive: Receive) -> None:
    receive("evt_dead", customer=customer_of(tenant), status="dead", error="UnknownPrice: no price", attempts=10)
    receive("evt_new", kind="price.created", object_kind="price")
    text = shown(desk)
    assert "1 is given up" in text
    for words in ("evt_dead", "evt_new", tenant.organization.slug, "UnknownPrice", "Given up"):
        assert words in text


def test_events_are_found_by_state_type_organization_age_and_id(
    desk: Client, tenant: Tenant, stranger: Tenant, receive: Receive
) -> None:
    old = timezone.now() - timedelta(days=3)
    receive("evt_mine", customer=customer_of(tenant), status="dead")
    receive("evt_theirs", customer=customer_of(stranger), kind="charge.failed", received_at=old)
    receive("evt_me", object_kind="customer", object_id=customer_of(tenant))
    for query, found in {
        "status__exact=dead": {"evt_mine"},
        "kind=charge.failed": {"evt_theirs"},
        f"organization={tenant.organization.slug}": {"evt_mine", "evt_me"},
        f"organization={stranger.organization.slug}": {"evt_theirs"},
        "organization=nobody": set(),
        "age=older": {"evt_theirs"},
        "age=hour": {"evt_mine", "evt_me"},
        "age=nothing": {"evt_mine", "evt_me", "evt_theirs"},
        "q=evt_mine": {"evt_mine"},
        "q=in_evt_theirs": {"evt_theirs"},
        f"status__exact=dead&organization={stranger.organization.slug}": set(),
    }.items():
        text = shown(desk, f"?{query}")
        assert {one for one in ("evt_mine", "evt_me", "evt_theirs") if f">{one}<" in text} == found, query


def test_an_event_is_read_without_what_is_personal_and_the_customer_reads_that(
    desk: Client, tenant: Tenant, receive: Receive, staff: Any
) -> None:
    receive("evt_1", customer=customer_of(tenant), error="card_declined: no")
    text = desk.get(f"{INBOX}evt_1/").content.decode()
    for words in ("evt_1", "in_evt_1", "card_declined", tenant.organization.slug, HIDDEN, "Nobody of the staff"):
        assert words in text
    assert "ada@example.com" not in text
    assert trail(tenant) == [(actions.STAFF_LOOKED.name, staff.email, "evt_1", REASON)]
    page = Client()
    page.force_login(tenant.owner)
    log = page.get(f"/o/{tenant.organization.slug}/audit/").content.decode()
    assert "looked at data of the organization" in log
    assert staff.email in log


def test_every_organization_on_the_page_reads_once_in_a_session_that_its_events_were_looked_at(
    desk: Client, tenant: Tenant, stranger: Tenant, receive: Receive, staff: Any
) -> None:
    receive("evt_1", customer=customer_of(tenant), error="card_declined: no")
    receive("evt_2", customer=customer_of(tenant))
    looked = [(actions.STAFF_LOOKED.name, staff.email, tenant.organization.slug, REASON)]
    shown(desk)
    assert trail(tenant) == looked
    for query in ("", "?status__exact=new", f"?organization={tenant.organization.slug}"):  # reloaded, narrowed
        shown(desk, query)
    assert trail(tenant) == looked
    assert trail(stranger) == []  # no row of its own was shown
    receive("evt_3", customer=customer_of(stranger))
    shown(desk)
    assert [one[2] for one in trail(stranger)] == [stranger.organization.slug]
    assert trail(tenant) == looked
    again = "Ticket 4712: looked at once more"
    assert desk.post("/staff/session/", {"reason": again}).status_code == 302
    shown(desk)
    assert [one[3] for one in trail(tenant)] == [REASON, again]


def test_only_the_organizations_of_this_page_of_the_list_are_told(
    desk: Client, tenant: Tenant, stranger: Tenant, receive: Receive
) -> None:
    receive("evt_old", customer=customer_of(stranger), received_at=timezone.now() - timedelta(days=1))
    for number in range(50):
        receive(f"evt_{number}", customer=customer_of(tenant))
    shown(desk)
    assert (len(trail(tenant)), len(trail(stranger))) == (1, 0)
    shown(desk, "?p=2")
    assert (len(trail(tenant)), len(trail(stranger))) == (1, 1)


def test_an_organization_that_is_named_reads_that_staff_looked_for_events_of_its_own(
    desk: Client, tenant: Tenant
) -> None:
    for _ in range(2):
        shown(desk, f"?organization={tenant.organization.slug}")
    assert [one[:1] for one in trail(tenant)] == [(actions.STAFF_LOOKED.name,)]


def test_one_event_is_started_again(desk: Client, tenant: Tenant, receive: Receive, staff: Any) -> None:
    event = receive("evt_1", customer=customer_of(tenant), status="dead", attempts=10, error="x")
    text = desk.post(f"{INBOX}evt_1/replay/", follow=True).content.decode()
    assert "1 started again" in text
    event.refresh_from_db()
    assert (event.status, event.attempts) == (StripeEvent.Status.NEW, 0)
    assert trail(tenant)[0] == (actions.STRIPE_EVENTS_REPLAYED.name, staff.email, "evt_1", REASON)
    assert staff.email in text  # its history
    assert desk.get(f"{INBOX}evt_1/replay/").status_code == 405
    assert desk.post(f"{INBOX}evt_nothing/replay/").status_code == 404
    assert desk.get(f"{INBOX}evt_nothing/").status_code == 404


def test_chosen_events_are_started_again(desk: Client, tenant: Tenant, stranger: Tenant, receive: Receive) -> None:
    rows = [
        receive("evt_1", customer=customer_of(tenant), status="dead"),
        receive("evt_2", customer=customer_of(stranger), status="done"),
        receive("evt_3", status="dead"),
    ]
    receive("evt_4", customer=customer_of(tenant), status="dead")
    form = {"action": "replay_selected", "_selected_action": [row.pk for row in rows]}
    assert "3 started again" in desk.post(INBOX, form, follow=True).content.decode()
    assert set(StripeEvent.objects.filter(status="new").values_list("event_id", flat=True)) == {
        "evt_1",
        "evt_2",
        "evt_3",
    }
    replayed = actions.STRIPE_EVENTS_REPLAYED.name
    assert [one[2] for one in trail(tenant) if one[0] == replayed] == ["evt_1"]
    assert [one[2] for one in trail(stranger) if one[0] == replayed] == ["evt_2"]


def test_everything_that_was_given_up_is_started_again_after_a_question(
    desk: Client, tenant: Tenant, receive: Receive
) -> None:
    for number in range(3):
        receive(f"evt_{number}", customer=customer_of(tenant), status="dead")
    receive("evt_done", status="done")
    assert "3 events were given up" in desk.get(f"{INBOX}replay/").content.decode()
    assert StripeEvent.objects.filter(status="dead").count() == 3
    assert "3 started again" in desk.post(f"{INBOX}replay/", follow=True).content.decode()
    assert not StripeEvent.objects.filter(status="dead").exists()
    assert StripeEvent.objects.get(event_id="evt_done").status == "done"
    assert [one[0] for one in trail(tenant)].count(actions.STRIPE_EVENTS_REPLAYED.name) == 1
    assert StaffAct.objects.get(what="replayed").targets == ["evt_0", "evt_1", "evt_2"]


def test_a_replay_needs_a_reason_and_has_a_limit(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    receive("evt_1", status="dead")
    with pytest.raises(Invalid, match="Say why"):
        replays.replay(actor=STAFF, reason=" ", event_ids=["evt_1"])
    monkeypatch.setattr(replays, "AT_ONCE", 1)
    with pytest.raises(Invalid, match="at most 1"):
        replays.replay(actor=STAFF, reason=REASON, event_ids=["evt_1", "evt_2"])
    receive("evt_2", status="dead")
    assert len(replays.replay_dead(actor=STAFF, reason=REASON)) == 2


def test_more_events_cost_no_more_queries(desk: Client, tenant: Tenant, stranger: Tenant, receive: Receive) -> None:
    receive("evt_0", customer=customer_of(tenant))
    few = queries(desk, INBOX)
    for number in range(1, 12):
        receive(f"evt_{number}", customer=customer_of(stranger if number % 2 else tenant))
    assert queries(desk, INBOX) == few


def test_the_mirror_is_shown_without_what_is_personal(desk: Client, tenant: Tenant, buy: Buy) -> None:
    buy(tenant, "pro")
    with scope(tenant.organization):
        customer = str(BillingAccount.objects.get().stripe_customer_id)
    refresh("customer", customer)
    for kind in ("customer", "subscription", "invoice", "paymentmethod", "price", "product"):
        assert desk.get(f"/staff/djstripe/{kind}/").status_code == 200
    text = desk.get("/staff/djstripe/customer/").content.decode()
    assert customer in text
    assert tenant.organization.slug in text
    text = desk.get(f"/staff/djstripe/customer/{customer}/").content.decode()
    assert tenant.owner.email not in text
    assert f"&quot;name&quot;: &quot;{HIDDEN}&quot;" in text
    slug = tenant.organization.slug
    assert [one[2] for one in trail(tenant)] == [slug, customer]  # the list with a row of its own, and the row
    assert desk.get("/staff/djstripe/customer/cus_nobody/").status_code == 404
    for other in ("apikey", "webhookendpoint", "webhookeventtrigger"):
        assert desk.get(f"/staff/djstripe/{other}/").status_code == 404


def test_what_is_personal_or_secret_is_left_out_wherever_it_is() -> None:
    said = redacted(
        {
            "id": "in_1",
            "amount": 5,
            "currency": "usd",
            "customer_email": "ada@example.com",
            "name": "ada",
            "client_secret": "pi_1_secret_2",
            "hosted_invoice_url": "https://invoice.stripe.com/i/1",
            "card": {"last4": "4242", "brand": "visa", "exp_year": 2040},
            "billing_details": {"phone": "1"},
            "metadata": {"note": "Call Ada at home", "organization": "01a2272f-3a7a-738a-ab29-8c51168bd87d"},
            "lines": [{"description": "Ada's seats", "price": "price_1AbC"}],
            "email": None,
        }
    )
    assert said == {
        "id": "in_1",
        "amount": 5,
        "currency": "usd",
        "customer_email": HIDDEN,
        "name": HIDDEN,
        "client_secret": HIDDEN,
        "hosted_invoice_url": HIDDEN,
        "card": {"last4": HIDDEN, "brand": "visa", "exp_year": 2040},
        "billing_details": HIDDEN,
        "metadata": {"note": HIDDEN, "organization": "01a2272f-3a7a-738a-ab29-8c51168bd87d"},
        "lines": [{"description": HIDDEN, "price": "price_1AbC"}],
        "email": None,
    }
