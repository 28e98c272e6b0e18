"""Caps and alerts on a page: set, shown with whom they hold, taken away."""

from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from billing.metering.models import UsageHour
from billing.quotas.models import Cap, Watch
from tenancy.models import Project
from tenancy.roles import Role
from tenancy.scope import scope
from tests.billing.quotas.test_parking import Api, allow
from tests.capsule_cloud.web.conftest import Page, SignIn, queries
from tests.factories import Tenant, add_member

CAP = {"allowance": "operations", "subject": "organization", "amount": "900", "span": "period", "reaction": "stop"}


def caps_of(tenant: Tenant) -> list[tuple[str, UUID, int]]:
    with scope(tenant.organization):
        return [(cap.level, cap.subject_id, cap.amount) for cap in Cap.objects.order_by("amount")]


def test_without_caps_the_page_says_what_they_are_for(page: Page) -> None:
    text = page("billing/caps/")
    assert "No cap of your own" in text
    assert 'value="50, 80, 100"' in text


def test_a_cap_is_set_for_everybody_a_project_or_a_key(tenant: Tenant, page: Page, post: Page) -> None:
    assert "holds within a second" in post("billing/caps/set/", CAP)
    post("billing/caps/set/", CAP | {"subject": f"project:{tenant.project.pk}", "amount": "800"})
    post("billing/caps/set/", CAP | {"subject": f"key:{tenant.key.pk}", "amount": "700", "span": "day"})
    assert caps_of(tenant) == [
        ("key", tenant.key.pk, 700),
        ("project", tenant.project.pk, 800),
        ("organization", tenant.organization.pk, 900),
    ]
    text = page("billing/caps/")
    for words in (
        "The whole organization",
        f"Project {tenant.project.name}",
        f"Key {tenant.key.name}",
        "Refuse writes",
    ):
        assert words in text


def test_how_much_is_kept_of_how_much_is_said_on_the_page_and_by_the_api(tenant: Tenant, page: Page) -> None:
    assert "Kept writes" not in page("billing/caps/")
    allow(tenant, 0)
    assert "<b>0</b> of 100,000 writes" in page("billing/caps/")
    Api(tenant).ingest("tea")
    assert "<b>1</b> of 100,000 writes" in page("billing/caps/")
    said = Client(headers=tenant.headers).get("/v1/billing").json()["parked"]
    assert (said["waiting"], said["writes"], said["most_writes"], said["most_bytes"]) == (1, 1, 100_000, 2**30)
    assert 100 < said["bytes"] < 1_000


def test_a_cap_is_taken_away(tenant: Tenant, post: Page) -> None:
    post("billing/caps/set/", CAP)
    with scope(tenant.organization):
        cap = Cap.objects.get()
    assert "The cap is gone." in post(f"billing/caps/{cap.pk}/clear/")
    assert caps_of(tenant) == []
    post(f"billing/caps/{cap.pk}/clear/", status=404)


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": "-1"},
        {"amount": "x"},
        {"amount": "999999"},  # more than the plan's
        {"amount": "0.5"},
        {"allowance": "stored_bytes", "amount": "100000000000000"},
        {"subject": "project:nothing"},
        {"span": "year"},
        {"reaction": "explode"},
        {"reaction": "park"},  # the free plan has none
    ],
)
def test_a_cap_that_cannot_be_is_refused_with_a_reason(tenant: Tenant, post: Page, wrong: dict[str, str]) -> None:
    text = post("billing/caps/set/", CAP | wrong, status=422)
    assert "field-error" in text or 'role="alert"' in text
    assert caps_of(tenant) == []


def test_a_cap_shows_how_far_it_is_used(tenant: Tenant, page: Page, post: Page) -> None:
    post("billing/caps/set/", CAP)
    post("billing/caps/set/", CAP | {"subject": f"key:{tenant.key.pk}", "amount": "100", "span": "day"})
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    with scope(tenant.organization):
        for key_id, quantity in ((tenant.key.pk, 85), (None, 400)):
            UsageHour.objects.create(
                project_id=tenant.project.pk, key_id=key_id, meter="ingest", hour=now, quantity=quantity, events=1
            )
    text = page("billing/caps/")
    assert "<b>485</b> of 900</span>" in text
    assert "<b>85</b> of 100</span>" in text
    assert "memory operations, today (UTC)" in text
    assert "stick-warn" in text
    assert "As of" in text


def test_stored_bytes_are_capped_in_gigabytes(tenant: Tenant, page: Page, post: Page) -> None:
    post("billing/caps/set/", CAP | {"allowance": "stored_bytes", "amount": "0.5"})
    assert [amount for _, _, amount in caps_of(tenant)] == [500_000_000]
    assert "of 0.5 GB</span>" in page("billing/caps/")


def test_a_strangers_project_is_no_subject(tenant: Tenant, stranger: Tenant, post: Page) -> None:
    post("billing/caps/set/", CAP | {"subject": f"project:{stranger.project.pk}"}, status=422)
    assert caps_of(tenant) == []


def test_alerts_are_chosen_and_put_off(tenant: Tenant, page: Page, post: Page) -> None:
    assert "Saved." in post("billing/caps/alerts/", {"allowance": "operations", "percents": "90, 25 %, 90"})
    with scope(tenant.organization):
        assert Watch.objects.get().percents == [25, 90]
    assert 'value="25, 90"' in page("billing/caps/")
    post("billing/caps/alerts/", {"allowance": "operations", "percents": ""})
    with scope(tenant.organization):
        assert Watch.objects.get().percents == []
    assert 'value=""' in page("billing/caps/")
    for percents in ("half", "0", "1001", "-5", "9" * 99, ",".join(map(str, range(1, 12)))):
        text = post("billing/caps/alerts/", {"allowance": "operations", "percents": percents})
        assert "percentages" in text.split("toast-error")[1]


def test_an_admin_sees_caps_and_changes_none(tenant: Tenant, sign_in: SignIn, home: str) -> None:
    browser = sign_in(add_member(tenant, Role.ADMIN, "Adam"))
    text = browser.get(f"{home}billing/caps/").content.decode()
    assert "billing/caps/set/" not in text
    assert "50, 80, 100" in text
    assert browser.post(f"{home}billing/caps/set/", CAP).status_code == 403


def test_more_caps_cost_no_more_queries(tenant: Tenant, owner: Client, home: str, post: Page) -> None:
    post("billing/caps/set/", CAP)
    few = queries(owner, f"{home}billing/caps/")
    with scope(tenant.organization):
        for number in range(4):
            one = Project.objects.create(name=f"P {number}", slug=f"p-{number}")
            Cap.objects.create(allowance="operations", level="project", subject_id=one.pk, amount=number)
    assert queries(owner, f"{home}billing/caps/") == few
