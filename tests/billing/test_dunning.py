"""An unpaid invoice takes access away by the clock, and a payment gives it back; nothing is ever deleted."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core import mail
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing import tasks
from billing.dunning_terms import Terms
from billing.models import BillingAccount, Debt, Dunning
from billing.selectors.dunning import banner
from billing.services import dunning
from billing.services.dunning import (
    AdvanceFailed,
    advance_due,
    payment_due,
    payment_failed,
    payment_succeeded,
    set_terms,
)
from tenancy.audit import actions
from tenancy.audit import selectors as trail
from tenancy.audit.services import SYSTEM
from tenancy.models import Organization
from tenancy.roles import Role
from tenancy.scope import Owned, scope
from tests.factories import Tenant, add_member, make_tenant
from tests.raw import rows_of
from tests.threads import at_once

FAILED = datetime(2028, 2, 15, 8, 30, tzinfo=UTC)
DAY = timedelta(days=1)
Capture = DjangoCaptureOnCommitCallbacks


def fail(tenant: Tenant, ref: str = "in_1", at: datetime = FAILED, now: datetime | None = None) -> None:
    """A payment of the tenant fails."""
    with scope(tenant.organization):
        payment_failed(
            actor=SYSTEM,
            invoice_ref=ref,
            amount=4900,
            currency="usd",
            failed_at=at,
            pay_url=f"https://pay.example/{ref}",
            now=now or at,
        )


def succeed(tenant: Tenant, ref: str = "in_1", at: datetime = FAILED) -> None:
    """A payment of the tenant succeeds."""
    with scope(tenant.organization):
        payment_succeeded(actor=SYSTEM, invoice_ref=ref, currency="usd", at=at, now=at)


def standing(tenant: Tenant) -> tuple[str, str]:
    """The tenant's state and access."""
    with scope(tenant.organization):
        row = Dunning.objects.first()
        return (row.state if row else "ok", Organization.objects.get().access)


def actions_of(tenant: Tenant) -> list[str]:
    """What the trail says of money, oldest first."""
    with scope(tenant.organization):
        return [event.action for event in reversed(trail.events()) if event.action.startswith("billing.")]


def test_day_by_day_from_the_failed_payment_to_the_end_and_back(
    tenant: Tenant, django_capture_on_commit_callbacks: Capture
) -> None:
    expected = {
        0: ("past_due", "full"),
        14: ("restricted", "read_only"),
        28: ("suspended", "suspended"),
        60: ("cancelled", "suspended"),
    }
    letters: dict[int, str] = {}
    with django_capture_on_commit_callbacks(execute=True):
        fail(tenant)
    for day in range(91):
        with django_capture_on_commit_callbacks(execute=True):
            advance_due(now=FAILED + day * DAY)
        assert standing(tenant) == expected[max(start for start in expected if start <= day)], day
        if mail.outbox:
            [letter] = mail.outbox
            assert letter.to == [tenant.owner.email]
            assert "https://pay.example/in_1" in letter.body
            assert "$49.00" in letter.body
            letters[day] = str(letter.subject)
            mail.outbox.clear()
    assert list(letters) == [0, 3, 7, 11, 14, 25, 28, 45, 57, 60]
    assert len(set(letters.values())) == 4
    with django_capture_on_commit_callbacks(execute=True):
        succeed(tenant, at=FAILED + 91 * DAY)
    assert standing(tenant) == ("ok", "full")
    assert [letter.subject for letter in mail.outbox] == ["Thank you: everything is paid"]
    assert actions_of(tenant) == [
        actions.PAYMENT_FAILED.name,
        *[actions.DUNNING_WORSENED.name] * 4,
        actions.PAYMENT_RECOVERED.name,
        actions.DUNNING_EASED.name,
    ]


def test_access_is_kept_inside_the_window_to_the_last_second(tenant: Tenant) -> None:
    fail(tenant)
    advance_due(now=FAILED + 14 * DAY - timedelta(seconds=1))
    assert standing(tenant) == ("past_due", "full")
    advance_due(now=FAILED + 14 * DAY)
    assert standing(tenant) == ("restricted", "read_only")


def test_retries_do_not_extend_the_window(tenant: Tenant) -> None:
    fail(tenant)
    for day in (3, 5, 8, 13):
        fail(tenant, at=FAILED + day * DAY)
    advance_due(now=FAILED + 14 * DAY)
    assert standing(tenant) == ("restricted", "read_only")
    assert actions_of(tenant).count(actions.PAYMENT_FAILED.name) == 1


def test_a_payment_is_known_whatever_comes_first_and_however_often(tenant: Tenant) -> None:
    succeed(tenant, at=FAILED + DAY)
    fail(tenant)
    fail(tenant, at=FAILED + 2 * DAY)
    succeed(tenant, at=FAILED + DAY)
    advance_due(now=FAILED + 90 * DAY)
    assert standing(tenant) == ("ok", "full")
    assert actions_of(tenant) == []


EVENTS = st.lists(
    st.tuples(st.sampled_from(["fail", "pay"]), st.sampled_from(["in_1", "in_2"]), st.integers(0, 40)), max_size=6
)


@pytest.mark.django_db
@given(EVENTS, st.randoms(), st.integers(0, 99))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_order_and_repetition_of_what_is_heard_change_nothing(events: list[Any], random: Any, day: int) -> None:
    seen = []
    for heard in (events, random.sample(events + events, 2 * len(events))):
        tenant = make_tenant()
        now = FAILED + day * DAY
        for kind, ref, when in heard:
            at = min(when, day)  # what is heard has happened
            if kind == "fail":
                fail(tenant, ref, FAILED + at * DAY, now=now)
            else:
                with scope(tenant.organization):
                    payment_succeeded(actor=SYSTEM, invoice_ref=ref, currency="usd", at=FAILED + at * DAY, now=now)
        advance_due(now=now)
        seen.append(standing(tenant))
    assert seen[0] == seen[1]


def test_a_clock_that_is_behind_gives_nothing_back(tenant: Tenant) -> None:
    fail(tenant)
    advance_due(now=FAILED + 14 * DAY)
    succeed(tenant, "in_of_another_month", at=FAILED - 30 * DAY)
    fail(tenant, at=FAILED)
    assert standing(tenant) == ("restricted", "read_only")


def test_the_oldest_unpaid_invoice_decides(tenant: Tenant) -> None:
    fail(tenant, "in_1")
    fail(tenant, "in_2", at=FAILED + 10 * DAY)
    advance_due(now=FAILED + 20 * DAY)
    assert standing(tenant)[0] == "restricted"
    succeed(tenant, "in_1", at=FAILED + 20 * DAY)
    assert standing(tenant) == ("past_due", "full")
    advance_due(now=FAILED + 24 * DAY)
    assert standing(tenant) == ("restricted", "read_only")
    succeed(tenant, "in_2", at=FAILED + 24 * DAY)
    assert standing(tenant) == ("ok", "full")


def test_a_sweep_that_comes_late_writes_one_letter(tenant: Tenant, django_capture_on_commit_callbacks: Capture) -> None:
    fail(tenant)
    with django_capture_on_commit_callbacks(execute=True):
        advance_due(now=FAILED + 40 * DAY)
        advance_due(now=FAILED + 40 * DAY)
    assert standing(tenant) == ("suspended", "suspended")
    assert [letter.subject for letter in mail.outbox] == ["Your service is suspended: an invoice is unpaid"]


def test_a_second_episode_begins_anew(tenant: Tenant, django_capture_on_commit_callbacks: Capture) -> None:
    fail(tenant)
    advance_due(now=FAILED + 20 * DAY)
    succeed(tenant, at=FAILED + 20 * DAY)
    with django_capture_on_commit_callbacks(execute=True):
        fail(tenant, "in_2", at=FAILED + 60 * DAY)
    assert standing(tenant) == ("past_due", "full")
    assert [letter.subject for letter in mail.outbox] == ["A payment did not arrive"]


def owe(tenant: Tenant, ref: str, due_at: datetime, now: datetime) -> None:
    """The tenant gets an invoice to transfer."""
    with scope(tenant.organization):
        payment_due(actor=SYSTEM, invoice_ref=ref, amount=990_000, currency="usd", due_at=due_at, pay_url="", now=now)


def test_net_thirty_leaves_thirty_days_before_anything_happens_and_thirty_more_before_writes_stop(
    tenant: Tenant, django_capture_on_commit_callbacks: Capture
) -> None:
    due = FAILED + 30 * DAY
    with django_capture_on_commit_callbacks(execute=True):
        owe(tenant, "C-1", due, now=FAILED)
        for day in range(30):
            advance_due(now=FAILED + day * DAY)
    assert standing(tenant) == ("ok", "full")
    assert mail.outbox == []
    with django_capture_on_commit_callbacks(execute=True):
        advance_due(now=due)
    assert standing(tenant) == ("past_due", "full")
    [letter] = mail.outbox
    assert "is past its date" in letter.body
    assert "$9,900.00" in letter.body
    advance_due(now=due + 30 * DAY - timedelta(seconds=1))
    assert standing(tenant) == ("past_due", "full")
    advance_due(now=due + 30 * DAY)
    assert standing(tenant) == ("restricted", "read_only")
    succeed(tenant, "C-1", at=due + 31 * DAY)
    assert standing(tenant) == ("ok", "full")


def test_an_invoice_that_is_paid_before_its_date_is_never_heard_of(
    tenant: Tenant, django_capture_on_commit_callbacks: Capture
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        owe(tenant, "C-1", FAILED + 30 * DAY, now=FAILED)
        succeed(tenant, "C-1", at=FAILED + 20 * DAY)
        owe(tenant, "C-1", FAILED + 30 * DAY, now=FAILED + 25 * DAY)
        advance_due(now=FAILED + 90 * DAY)
    assert standing(tenant) == ("ok", "full")
    assert mail.outbox == []


def test_of_several_debts_the_worst_decides_each_by_its_own_terms(
    tenant: Tenant, django_capture_on_commit_callbacks: Capture
) -> None:
    owe(tenant, "C-1", FAILED, now=FAILED)
    fail(tenant, "in_1", at=FAILED + 5 * DAY)
    advance_due(now=FAILED + 18 * DAY)
    assert standing(tenant)[0] == "past_due"
    with scope(tenant.organization):
        found = banner()
    assert found is not None
    assert found.changes_at == FAILED + 19 * DAY
    with django_capture_on_commit_callbacks(execute=True):
        advance_due(now=FAILED + 19 * DAY)
    assert standing(tenant)[0] == "restricted"
    assert len(mail.outbox) == 1
    succeed(tenant, "in_1", at=FAILED + 20 * DAY)
    assert standing(tenant) == ("past_due", "full")


def test_terms_that_were_agreed_on_hold_for_an_episode_that_runs(tenant: Tenant) -> None:
    fail(tenant)
    advance_due(now=FAILED + 20 * DAY)
    with scope(tenant.organization):
        set_terms(actor=tenant.actor, terms=Terms(25, 50, 75), reason="They asked", now=FAILED + 20 * DAY)
    assert standing(tenant) == ("past_due", "full")
    advance_due(now=FAILED + 25 * DAY)
    assert standing(tenant) == ("restricted", "read_only")
    assert actions.DUNNING_TERMS_SET.name in actions_of(tenant)


def test_dunning_never_deletes_anything(tenant: Tenant) -> None:
    with scope(tenant.organization):
        BillingAccount.objects.create()
    tables = [m._meta.db_table for m in apps.get_models() if issubclass(m, Owned)]
    grown = {"billing_debt", "billing_dunning", "billing_entitlementversion", "audit_auditevent"}

    def data() -> dict[str, int]:
        with scope(tenant.organization):
            counts = {m._meta.db_table: m._default_manager.count() for m in apps.get_models() if issubclass(m, Owned)}
        return {table: count for table, count in counts.items() if table not in grown}

    before = data()
    fail(tenant)
    for day in range(0, 500, 10):
        advance_due(now=FAILED + day * DAY)
    assert standing(tenant) == ("cancelled", "suspended")
    assert data() == before
    assert len(tables) > 10
    with scope(tenant.organization):
        organization = Organization.objects.get()
        assert organization.closed_at is None
        assert Debt.objects.count() == 1


def test_letters_go_to_whoever_pays_and_to_nobody_else(
    tenant: Tenant, django_capture_on_commit_callbacks: Capture
) -> None:
    payer = add_member(tenant, Role.BILLING, "Pat")
    add_member(tenant, Role.ADMIN, "Adam")
    add_member(tenant, Role.VIEWER, "Vi")
    with scope(tenant.organization):
        BillingAccount.objects.create(invoice_emails=["books@example.com", tenant.owner.email])
    with django_capture_on_commit_callbacks(execute=True):
        fail(tenant)
    assert {tuple(letter.to) for letter in mail.outbox} == {
        (tenant.owner.email,), (payer.email,), ("books@example.com",)
    }  # fmt: skip
    assert len(mail.outbox) == 3


def test_a_letter_names_the_day_on_which_things_change(
    tenant: Tenant, django_capture_on_commit_callbacks: Capture
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        fail(tenant)
    assert "on 29 February 2028, writes stop" in mail.outbox[0].body
    assert f"/o/{tenant.organization.slug}/billing/" in mail.outbox[0].body


def test_the_banner_says_what_works_until_when_and_where_to_pay(tenant: Tenant) -> None:
    def shown() -> tuple[str, str, str] | None:
        with scope(tenant.organization):
            found = banner()
            return (found.level, found.sentence, found.pay_url) if found else None

    assert shown() is None
    fail(tenant)
    url = "https://pay.example/in_1"
    assert shown() == ("warning", "Everything still works. Pay until 29 February 2028, then writes stop.", url)
    advance_due(now=FAILED + 14 * DAY)
    assert shown() == (
        "danger", "Reads and exports work. Pay until 14 March 2028, then they stop too, except for exports.", url
    )  # fmt: skip
    advance_due(now=FAILED + 28 * DAY)
    assert shown() == (
        "danger", "Exports still work, and nothing is deleted. The subscription ends on 15 April 2028.", url
    )  # fmt: skip
    advance_due(now=FAILED + 60 * DAY)
    assert shown() == ("danger", "Your data is still here. Pay what is open, and everything works again.", url)
    succeed(tenant)
    assert shown() is None


def test_one_that_fails_does_not_keep_the_others(
    tenant: Tenant, stranger: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    for each in (tenant, stranger):
        fail(each)
    with scope(tenant.organization):
        Dunning.objects.update(terms={"of a later version": 1})
    with pytest.raises(AdvanceFailed, match=str(tenant.organization.pk)):
        advance_due(now=FAILED + 14 * DAY)
    assert "dunning.advance_failed" in caplog.text
    assert standing(stranger)[0] == "restricted"
    assert standing(tenant)[0] == "past_due"


def test_a_sweep_goes_on_past_its_page(tenant: Tenant, stranger: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dunning, "PAGE", 1)
    for each in (tenant, stranger):
        fail(each)
    advance_due(now=FAILED + 14 * DAY)
    assert {standing(each)[0] for each in (tenant, stranger)} == {"restricted"}


def test_the_task_goes_by_the_clock(tenant: Tenant) -> None:
    fail(tenant, at=datetime(2026, 1, 1, tzinfo=UTC))
    tasks.advance_dunning()
    assert standing(tenant)[0] == "cancelled"


def test_failure_payment_and_sweep_at_once_leave_nobody_stuck(transactional_db: None) -> None:
    tenant = make_tenant()
    works: list[Callable[[], Any]] = [
        lambda: fail(tenant, now=FAILED + 20 * DAY),
        lambda: succeed(tenant, at=FAILED + 20 * DAY),
        lambda: advance_due(now=FAILED + 20 * DAY),
    ]
    results = at_once(*itertools.chain(works, works))
    assert [result for result in results if isinstance(result, Exception)] == []
    assert standing(tenant) == ("ok", "full")
    assert len(rows_of("billing_debt", "organization_id", tenant.organization.pk)) == 1


def test_the_debts_of_another_organization_are_its_own(tenant: Tenant, stranger: Tenant) -> None:
    fail(tenant)
    succeed(stranger)
    assert standing(tenant)[0] == "past_due"
    assert standing(stranger) == ("ok", "full")
