"""What directories sent: kept without secrets, cut to size, the newest alone, and forgotten after thirty days."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenancy.scim import exchanges, tasks
from tenancy.scim.directories import remedies, selectors, services
from tenancy.scim.models import Exchange
from tenancy.scope import scope
from tests.factories import Tenant
from tests.tenancy.scim.directory_things import connected

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=60) | st.dictionaries(st.text(max_size=200), inner, max_size=60),
    max_leaves=80,
)


def test_an_exchange_is_kept_with_what_it_was_about(tenant: Tenant) -> None:
    directory, who, _ = connected(tenant)
    sent = {"userName": "ada", "password": "hunter22222", "name": {"givenName": "Ada"}}
    exchanges.record(
        principal=who,
        method="POST",
        path="/scim/v2/Users",
        status=201,
        request=sent,
        answer={"id": "x"},
        resource_type="User",
        resource_id="x",
        took_ms=12,
    )
    with scope(tenant.organization):
        [kept] = selectors.exchanges(directory.pk, limit=9)
    assert kept.request == {"userName": "ada", "password": "•••", "name": {"givenName": "Ada"}}
    assert (kept.kind, kept.token_hint, kept.answer, kept.took_ms) == ("write", who.hint, {"id": "x"}, 12)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"path": "password", "value": "hunter2"}, {"path": "password", "value": "•••"}),
        ({"Operations": [{"value": {"clientSecret": "s"}}]}, {"Operations": [{"value": {"clientSecret": "•••"}}]}),
        ({"access_token": ["s"], "x509Certificates": [{}]}, {"access_token": "•••", "x509Certificates": "•••"}),
        ("a" * 301, "a" * 299 + "…"),
        ([0] * 52, [*[0] * 50, "… 2 more"]),
        ([[[[[[[1]]]]]]], [[[[[["…"]]]]]]),
        (2**60, str(2**60)),
        (float("nan"), "nan"),
        ("a\0b\ud800", "a�b?"),
        (["x" * 290] * 20, {"…": json.dumps(["x" * 290] * 20, separators=(",", ":"))[:2048]}),
    ],
)
def test_secrets_are_hidden_and_what_is_long_is_cut(body: Any, shown: Any) -> None:
    assert exchanges.kept(body) == shown


@given(JSON)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_whatever_is_sent_can_be_kept_and_stays_small(body: Any) -> None:
    text = json.dumps(exchanges.kept(body), ensure_ascii=False, allow_nan=False).encode()
    assert len(text) <= 2 * exchanges.MOST_BYTES
    assert b"\0" not in text


def test_a_secret_in_an_address_takes_the_query_with_it(tenant: Tenant) -> None:
    directory, who, _ = connected(tenant)
    for path in ("/Users?access_token=cms_x", f"/Users?filter={'x' * 600}"):
        exchanges.record(principal=who, method="GET", path=path, status=200)
    with scope(tenant.organization):
        long, secret = selectors.exchanges(directory.pk, limit=9)
    assert secret.path == "/Users?•••"
    assert len(long.path) == 500
    assert long.kind == "read"


def test_of_each_kind_the_newest_are_kept(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, who, _ = connected(tenant)
    monkeypatch.setattr(exchanges, "MOST", dict.fromkeys(exchanges.MOST, 2))
    monkeypatch.setattr(exchanges, "TRIM_EVERY", 1)
    exchanges.record(principal=who, method="PUT", path="/Users/1", status=409)
    for number in range(4):
        exchanges.record(principal=who, method="GET", path=f"/Users/{number}", status=200)
    with scope(tenant.organization):
        assert [one.path for one in selectors.exchanges(directory.pk, limit=9)] == ["/Users/3", "/Users/2", "/Users/1"]
        assert exchanges.trim(directory.pk) == 0


def test_an_exchange_of_a_directory_that_is_gone_is_lost_without_a_word_to_the_client(
    tenant: Tenant, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, who, _ = connected(tenant)

    def fail(**values: Any) -> None:
        raise DatabaseError

    monkeypatch.setattr(Exchange.objects, "create", fail)
    exchanges.record(principal=who, method="GET", path="/Users", status=200)
    assert "scim.exchange_lost" in caplog.text


def test_what_is_older_than_thirty_days_is_forgotten(tenant: Tenant, stranger: Tenant) -> None:
    mine, who, _ = connected(tenant)
    theirs, other, _ = connected(stranger)
    for principal in (who, who, other):
        exchanges.record(principal=principal, method="GET", path="/Users", status=200)
    with scope(tenant.organization):
        oldest = Exchange.objects.order_by("id")[0]
        Exchange.objects.filter(pk=oldest.pk).update(created_at=timezone.now() - timedelta(days=31))
    with scope(stranger.organization):
        Exchange.objects.update(created_at=timezone.now() - timedelta(days=29))
    tasks.forget_exchanges()
    with scope(tenant.organization):
        assert [one.pk for one in selectors.exchanges(mine.pk, limit=9)] != [oldest.pk]
        assert Exchange.objects.count() == 1
    with scope(stranger.organization):
        assert Exchange.objects.filter(directory=theirs).count() == 1


def test_an_organization_whose_log_cannot_be_cleared_keeps_no_other(
    tenant: Tenant, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, who, _ = connected(tenant)
    exchanges.record(principal=who, method="GET", path="/Users", status=200)
    with scope(tenant.organization):
        Exchange.objects.update(created_at=timezone.now() - timedelta(days=31))

    def fail(organization: Any) -> None:
        raise DatabaseError

    monkeypatch.setattr(exchanges, "scope", fail)
    assert exchanges.forget_due() == 0
    assert f"scim.forgetting_failed organization={tenant.organization.pk}" in caplog.text


def test_failures_are_summed_up_with_what_helps(tenant: Tenant) -> None:
    directory, who, _ = connected(tenant)

    def fail(status: int, scim_type: str = "", detail: Any = "") -> None:
        answer = {"detail": detail} if detail else None
        exchanges.record(principal=who, method="POST", path="/Users", status=status, scim_type=scim_type, answer=answer)

    fail(409, "uniqueness", "ada is here already.")
    fail(409, "uniqueness", "ada is here already.")
    fail(503)
    fail(418, detail=["odd"])
    with scope(tenant.organization):
        ways = selectors.failures(directory.pk)
        newest = selectors.exchanges(directory.pk, limit=9)[2]
    assert [(one.count, one.detail) for one in ways] == [(2, "ada is here already."), (1, ""), (1, "")]
    assert ways[0].newest == newest
    assert ways[0].reason == remedies.BY_TYPE["uniqueness"]
    assert {one.reason for one in ways[1:]} == {remedies.OURS, remedies.OTHER}


def test_the_log_is_filtered_and_read_page_by_page(tenant: Tenant) -> None:
    directory, who, _ = connected(tenant)
    for number, kind in enumerate(("User", "Group", "User")):
        exchanges.record(
            principal=who, method="PATCH", path="/x", status=200, resource_type=kind, resource_id=f"id-{number}"
        )
    exchanges.record(principal=who, method="PATCH", path="/x", status=404)
    with scope(tenant.organization):
        rows = selectors.exchanges(directory.pk, limit=9)
        assert selectors.exchanges(directory.pk, before=rows[1].pk, limit=1) == [rows[2]]
        assert selectors.exchanges(directory.pk, kind="failure", limit=9) == [rows[0]]
        assert selectors.exchanges(directory.pk, resource="User", limit=9) == [rows[1], rows[3]]
        assert selectors.exchanges(directory.pk, resource="id-1", limit=9) == [rows[2]]
        assert selectors.exchanges(directory.pk, since=timezone.now(), limit=9) == []
        assert selectors.exchange(directory.pk, rows[0].pk) == rows[0]
        services.remove(actor=tenant.actor, directory_id=directory.pk)
        assert not Exchange.objects.exists()
