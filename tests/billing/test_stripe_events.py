"""Events may come twice, late, in any order, or never: our rows end up as Stripe says, and nobody is told twice."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from djstripe import models as mirror

from billing import stripe_events
from billing.models import BillingAccount, Document, Dunning, StripeEvent, Subscription
from billing.services import inbox
from billing.services.projection import SecondSubscription, UnknownPrice
from billing.stripe_events import ProcessFailed, apply, find_missed, process
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.double import Double
from tests.billing.objects import (
    customer_object,
    invoice_object,
    item_object,
    make_customer,
    new_id,
    subscription_object,
)
from tests.billing.signing import make_event
from tests.factories import Tenant, make_tenant
from tests.threads import at_once

Json = dict[str, Any]


@pytest.fixture
def double(db: None, monkeypatch: pytest.MonkeyPatch) -> Double:
    """Stripe, with the answers that a test puts into it, and an inbox without what other tests have left there."""
    StripeEvent.objects.filter(status="new").update(status="done")
    made = Double()
    monkeypatch.setattr(stripe_events, "client", lambda: made.client)
    return made


@pytest.fixture
def customer(tenant: Tenant) -> str:
    return make_customer(tenant)


def tell(double: Double, found: Json, path: str, **changes: Any) -> str:
    """Stripe has the object now, and says so; the event's id."""
    double.objects[f"{path}/{found['id']}"] = found
    event = make_event(found["object"], found["id"], **changes)
    inbox.receive(event)
    return str(event["id"])


def events_of(tenant: Tenant, action: actions.Action) -> int:
    with scope(tenant.organization):
        return AuditEvent.objects.filter(action=action.name).count()


def subscription_of(tenant: Tenant) -> Subscription:
    with scope(tenant.organization):
        return Subscription.objects.get()


def test_a_subscription_becomes_ours_and_its_plan_the_organization_s(
    double: Double, tenant: Tenant, customer: str
) -> None:
    found = subscription_object(customer, "pro", seats=3)
    event = tell(double, found, "subscriptions")
    process()
    row = subscription_of(tenant)
    assert (row.plan_key, row.interval, row.status, row.seats) == ("pro", "monthly", "active", 13)
    assert row.period_end - row.period_start == timedelta(days=30)
    with scope(tenant.organization):
        assert Organization.objects.get().project_limit == row.plan.limits["project_limit"]
    kept = mirror.Subscription.objects.get(id=found["id"])
    assert (kept.stripe_data, kept.customer_id) == (found, customer)
    assert StripeEvent.objects.get(event_id=event).status == "done"
    assert events_of(tenant, actions.BILLING_SUBSCRIPTION_STARTED) == 1


def test_an_older_answer_never_overwrites_a_newer_one(tenant: Tenant, customer: str) -> None:
    older = subscription_object(customer, "pro")
    newer = older | {"status": "canceled", "ended_at": older["created"]}
    at = timezone.now()
    apply("subscription", newer, at)
    apply("subscription", older, at - timedelta(seconds=1))
    assert subscription_of(tenant).status == "canceled"
    assert mirror.Subscription.objects.get(id=older["id"]).stripe_data["status"] == "canceled"
    apply("subscription", older, at + timedelta(seconds=1))
    assert subscription_of(tenant).status == "active"


def test_the_same_answer_twice_is_told_once(tenant: Tenant, customer: str) -> None:
    found = subscription_object(customer)
    for seconds in range(3):
        apply("subscription", found, timezone.now() + timedelta(seconds=seconds))
    assert events_of(tenant, actions.BILLING_SUBSCRIPTION_STARTED) == 1
    assert events_of(tenant, actions.BILLING_SUBSCRIPTION_CHANGED) == 0
    changed = found | {"cancel_at_period_end": True}
    apply("subscription", changed, timezone.now() + timedelta(seconds=9))
    assert events_of(tenant, actions.BILLING_SUBSCRIPTION_CHANGED) == 1
    ended = found | {"status": "canceled", "ended_at": found["created"]}
    apply("subscription", ended, timezone.now() + timedelta(seconds=10))
    assert events_of(tenant, actions.BILLING_SUBSCRIPTION_ENDED) == 1


def test_twelve_events_about_one_object_are_one_fetch(double: Double, tenant: Tenant, customer: str) -> None:
    found = subscription_object(customer)
    for _ in range(12):
        tell(double, found, "subscriptions")
    process(limit=1)
    assert len(double.requests) == 1
    assert StripeEvent.objects.filter(object_id=found["id"], status="done").count() == 12


def test_while_stripe_is_away_events_wait_and_no_attempt_counts(double: Double, customer: str) -> None:
    event = tell(double, subscription_object(customer), "subscriptions")
    double.failing = (503, {}, {"stripe-should-retry": "false"})
    process()
    row = StripeEvent.objects.get(event_id=event)
    assert (row.status, row.attempts, row.claimed_until) == ("new", 0, None)
    assert row.due_at > timezone.now()
    double.failing = None
    StripeEvent.objects.filter(event_id=event).update(due_at=timezone.now())
    process()
    assert StripeEvent.objects.get(event_id=event).status == "done"


def test_an_event_that_fails_ten_times_is_dead_until_somebody_replays_it(
    double: Double, tenant: Tenant, customer: str
) -> None:
    found = subscription_object(customer, items={"data": [item_object("something-else")]})
    event = tell(double, found, "subscriptions")
    waits = []
    for _ in range(inbox.MOST_ATTEMPTS):
        StripeEvent.objects.filter(event_id=event).update(due_at=timezone.now())
        with pytest.raises(ProcessFailed):
            process()
        row = StripeEvent.objects.get(event_id=event)
        waits.append(row.due_at - timezone.now())
    assert (row.status, row.attempts) == ("dead", 10)
    assert row.error.startswith(UnknownPrice.__name__)
    assert waits[0] < timedelta(seconds=11) < waits[1] < waits[2]
    process()
    assert StripeEvent.objects.get(event_id=event).status == "dead"
    double.objects[f"subscriptions/{found['id']}"] = subscription_object(customer, id=found["id"])
    assert inbox.replay(event)
    process()
    assert StripeEvent.objects.get(event_id=event).status == "done"
    assert subscription_of(tenant).plan_key == "pro"


def test_all_that_were_given_up_can_be_started_again(double: Double, tenant: Tenant, customer: str) -> None:
    found = customer_object(tenant, customer)
    one, other = tell(double, found, "customers"), tell(double, found, "customers")
    mine = StripeEvent.objects.filter(event_id__in=[one, other])
    mine.update(status="dead", attempts=10, error="x")
    assert inbox.replay_dead() >= 2
    process()
    assert list(mine.values_list("status", "error")) == [("done", "")] * 2
    assert not inbox.replay("evt_nobody_knows")


def test_a_poisoned_event_does_not_keep_the_others(double: Double, tenant: Tenant, customer: str) -> None:
    bad = tell(double, subscription_object(customer, items={"data": [item_object("x")]}), "subscriptions")
    good = tell(double, customer_object(tenant, customer), "customers")
    with pytest.raises(ProcessFailed):
        process()
    assert StripeEvent.objects.get(event_id=bad).status == "new"
    assert StripeEvent.objects.get(event_id=good).status == "done"


def test_an_event_of_a_worker_that_died_is_taken_by_the_next(double: Double, tenant: Tenant, customer: str) -> None:
    event = tell(double, customer_object(tenant, customer), "customers")
    assert [claim.object_id for claim in inbox.claim()] == [customer]
    assert inbox.claim() == []
    StripeEvent.objects.filter(event_id=event).update(claimed_until=timezone.now() - timedelta(seconds=1))
    assert [claim.object_id for claim in inbox.claim()] == [customer]


def test_an_event_whose_workers_all_died_is_given_up(double: Double, tenant: Tenant, customer: str) -> None:
    event = tell(double, customer_object(tenant, customer), "customers")
    past = timezone.now() - timedelta(seconds=1)
    StripeEvent.objects.filter(event_id=event).update(attempts=10, claimed_until=past)
    assert inbox.claim() == []
    assert StripeEvent.objects.get(event_id=event).status == "dead"


def test_workers_side_by_side_share_the_work(transactional_db: None, double: Double) -> None:
    tenant = make_tenant()
    customer = make_customer(tenant)
    found = customer_object(tenant, customer)
    payments = [{"id": new_id("pm"), "object": "payment_method", "customer": customer} for _ in range(20)]
    for one in payments:
        tell(double, one, "payment_methods")
    tell(double, found, "customers")
    results = at_once(*[lambda: process(limit=6)] * 4)
    assert all(isinstance(result, int) for result in results), results
    while process():
        pass
    assert len(double.requests) == 21
    ids = [one["id"] for one in [*payments, found]]
    assert not StripeEvent.objects.filter(object_id__in=ids).exclude(status="done").exists()


def test_an_object_of_an_unknown_customer_is_mirrored_and_nobody_s(double: Double, db: None) -> None:
    found = subscription_object(new_id("cus"))
    event = tell(double, found, "subscriptions")
    process()
    assert mirror.Subscription.objects.filter(id=found["id"]).exists()
    assert StripeEvent.objects.get(event_id=event).status == "done"


def test_what_stripe_says_about_the_owner_moves_nothing_and_raises_an_alarm(
    double: Double, tenant: Tenant, stranger: Tenant, customer: str
) -> None:
    tell(double, customer_object(stranger, customer), "customers")
    process()
    with scope(tenant.organization):
        account = BillingAccount.objects.get()
        assert (account.stripe_customer_id, account.link_alarm) == (customer, str(stranger.organization.pk))
    with scope(stranger.organization):
        assert not BillingAccount.objects.exists()
    assert events_of(tenant, actions.BILLING_LINK_MISMATCH) == 1
    tell(double, customer_object(tenant, customer), "customers")
    process()
    with scope(tenant.organization):
        assert BillingAccount.objects.get().link_alarm == ""


def test_a_customer_s_card_and_tax_id_are_known(double: Double, tenant: Tenant, customer: str) -> None:
    tax_id = {"id": "txi_1", "type": "eu_vat", "value": "DE1", "verification": {"status": "verified"}}
    changes = {"invoice_settings": {"default_payment_method": "pm_1"}, "tax_ids": {"data": [tax_id]}}
    tell(double, customer_object(tenant, customer, **changes), "customers")
    process()
    with scope(tenant.organization):
        account = BillingAccount.objects.get()
    assert account.has_payment_method
    assert account.tax_ids == [{"id": "txi_1", "type": "eu_vat", "value": "DE1", "status": "verified"}]


def test_a_customer_that_is_deleted_at_stripe_is_no_longer_ours(double: Double, tenant: Tenant, customer: str) -> None:
    tell(double, {"id": customer, "object": "customer", "deleted": True}, "customers")
    process()
    with scope(tenant.organization):
        assert BillingAccount.objects.get().stripe_customer_id is None


def test_what_is_gone_at_stripe_ends_here(double: Double, tenant: Tenant, customer: str) -> None:
    found = subscription_object(customer)
    apply("subscription", found, timezone.now() - timedelta(minutes=1))
    inbox.receive(make_event("subscription", found["id"], data={"object": found}))
    process()
    assert subscription_of(tenant).status == "canceled"


def test_a_second_live_subscription_is_refused_aloud(tenant: Tenant, customer: str) -> None:
    apply("subscription", subscription_object(customer), timezone.now())
    second = subscription_object(customer)
    with pytest.raises(SecondSubscription):
        apply("subscription", second, timezone.now())
    assert not mirror.Subscription.objects.filter(id=second["id"]).exists()


def test_events_about_what_we_do_not_keep_are_done_without_a_fetch(double: Double, db: None) -> None:
    events = [make_event("balance", data={"object": {"object": "balance"}}), make_event("radar.review")]
    for event in events:
        inbox.receive(event)
    process()
    assert double.requests == []
    done = StripeEvent.objects.filter(event_id__in=[event["id"] for event in events], status="done")
    assert done.count() == 2


def test_an_invoice_is_listed_and_mirrored_before_its_subscription(
    double: Double, tenant: Tenant, customer: str
) -> None:
    parent = {"subscription_details": {"subscription": new_id("sub")}}
    found = invoice_object(customer, parent=parent)
    tell(double, found, "invoices")
    process()
    with scope(tenant.organization):
        row = Document.objects.get()
        assert not Dunning.objects.exists()
    assert (row.kind, row.number, row.total, row.pdf_url) == ("invoice", "A-1", 29_00, found["invoice_pdf"])
    assert mirror.Invoice.objects.get(id=found["id"]).subscription_id == parent["subscription_details"]["subscription"]


def test_an_invoice_that_could_not_be_collected_starts_dunning_until_it_is_paid(
    double: Double, tenant: Tenant, customer: str
) -> None:
    found = invoice_object(customer, attempt_count=1)
    tell(double, found, "invoices")
    process()
    with scope(tenant.organization):
        assert Dunning.objects.get().state == "past_due"
    moved = found["status_transitions"] | {"paid_at": found["created"]}
    tell(double, found | {"status": "paid", "amount_paid": 29_00, "status_transitions": moved}, "invoices")
    process()
    with scope(tenant.organization):
        assert Dunning.objects.get().state == "ok"
        assert Document.objects.get().status == "paid"


def test_an_invoice_that_is_paid_by_transfer_is_owed_after_its_date(
    double: Double, tenant: Tenant, customer: str
) -> None:
    states = []
    for days in (1, -1):
        due = int((timezone.now() + timedelta(days=days)).timestamp())
        tell(double, invoice_object(customer, due_date=due), "invoices")
        process()
        with scope(tenant.organization):
            states.append(Dunning.objects.get().state)
    assert states == ["ok", "past_due"]


def test_a_credit_note_and_a_refund_are_listed_for_what_they_are(double: Double, tenant: Tenant, customer: str) -> None:
    note = {
        "id": new_id("cn"),
        "object": "credit_note",
        "created": 1_700_000_000,
        "customer": customer,
        "invoice": "in_1",
        "number": "A-1-CN-01",
        "status": "issued",
        "currency": "usd",
        "total": 5_00,
        "pdf": "https://pay.example.com/cn.pdf",
    }
    refund = {
        "id": new_id("re"),
        "object": "refund",
        "created": 1_700_000_001,
        "charge": {"id": "ch_1", "object": "charge", "customer": customer},
        "status": "succeeded",
        "currency": "usd",
        "amount": 3_00,
    }
    tell(double, note, "credit_notes")
    tell(double, refund, "refunds")
    process()
    with scope(tenant.organization):
        rows = list(Document.objects.order_by("issued_at").values_list("kind", "total", "amount_due"))
    assert rows == [("credit_note", 5_00, 0), ("refund", 3_00, 0)]


def test_events_that_never_came_are_found_once(double: Double, tenant: Tenant, customer: str) -> None:
    known, lost = make_event("customer", customer), make_event("customer", customer)
    inbox.receive(known)
    old = make_event("customer", customer, api_version="2020-08-27")
    double.objects["events"] = {"data": [known, lost, old], "has_more": False}
    assert find_missed() == 1
    assert find_missed() == 0
    assert StripeEvent.objects.filter(event_id=lost["id"]).count() == 1


def test_events_that_were_dealt_with_long_ago_are_forgotten(double: Double, tenant: Tenant, customer: str) -> None:
    old, new = make_event("customer", customer), make_event("customer", customer)
    for event in (old, new):
        inbox.receive(event)
    double.objects[f"customers/{customer}"] = customer_object(tenant, customer)
    process()
    StripeEvent.objects.filter(event_id=old["id"]).update(done_at=timezone.now() - timedelta(days=91))
    inbox.forget_old()
    left = StripeEvent.objects.filter(event_id__in=[old["id"], new["id"]])
    assert [row.event_id for row in left] == [new["id"]]
