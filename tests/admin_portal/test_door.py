"""Who comes into the staff console: staff with a second factor of just now and a reason; others find nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import ProgrammingError, connection, transaction
from django.test import Client
from django.utils import timezone

from admin_portal import sessions
from admin_portal.models import StaffAct, StaffSession
from tenancy.models import User
from tests.admin_portal.conftest import REASON, make_staff, prove, without_second_factor
from tests.factories import Tenant

INBOX = "/staff/billing/stripeevent/"
PLACES = ("/staff/", INBOX, "/staff/session/", "/staff/djstripe/customer/", "/staff/nothing/")


def browser_of(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.mark.parametrize("place", PLACES)
def test_customers_and_strangers_find_nothing(tenant: Tenant, place: str) -> None:
    for browser in (Client(), browser_of(tenant.owner)):
        for answer in (browser.get(place), browser.post(place, {"reason": REASON})):
            assert answer.status_code == 404
            assert "staff" not in answer.content.decode().lower()


def test_staff_without_a_second_factor_are_sent_to_set_one_up(staff: User) -> None:
    answer = browser_of(without_second_factor(staff)).get(INBOX)
    assert (answer.status_code, answer["Location"]) == (302, "/account/2fa/")


def test_staff_are_asked_for_a_reason_first(staff: User) -> None:
    browser = browser_of(staff)
    answer = browser.get(f"{INBOX}?status__exact=dead")
    assert answer["Location"] == "/staff/session/?next=%2Fstaff%2Fbilling%2Fstripeevent%2F%3Fstatus__exact%3Ddead"


@pytest.mark.parametrize("seconds", [None, 301])
def test_a_second_factor_of_long_ago_is_asked_for_again(staff: User, seconds: int | None) -> None:
    browser = browser_of(staff)
    if seconds is not None:
        prove(browser, staff, seconds)
    for answer in (browser.get("/staff/session/"), browser.post("/staff/session/", {"reason": REASON})):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/account/2fa/reauthenticate/")
    assert not StaffSession.objects.exists()


@pytest.mark.parametrize("reason", ["", "   ", "because", "x" * 501])
def test_a_reason_that_says_nothing_is_refused(staff: User, reason: str) -> None:
    browser = browser_of(staff)
    prove(browser, staff)
    assert browser.post("/staff/session/", {"reason": reason}).status_code == 422
    assert not StaffSession.objects.exists()


@pytest.mark.parametrize(
    ("wanted", "place"), [(INBOX, INBOX), ("https://evil.example/", "/staff/"), ("//evil.example", "/staff/")]
)
def test_a_session_leads_on_to_where_one_wanted_to_go(staff: User, wanted: str, place: str) -> None:
    browser = browser_of(staff)
    prove(browser, staff)
    answer = browser.post(f"/staff/session/?next={wanted}", {"reason": REASON})
    assert answer["Location"] == place
    assert REASON in browser.get(INBOX).content.decode()


def test_a_session_ends_by_itself_and_by_hand(desk: Client, monkeypatch: Any) -> None:
    assert desk.get(INBOX).status_code == 200
    assert desk.post("/staff/session/end/").status_code == 302
    assert desk.get(INBOX).status_code == 302
    [ended] = StaffSession.objects.all()
    assert ended.ends_at <= timezone.now()


def test_a_session_lasts_half_an_hour(desk: Client) -> None:
    StaffSession.objects.update(ends_at=timezone.now() - timedelta(seconds=1))
    assert desk.get(INBOX).status_code == 302


def test_a_session_is_its_own_persons_alone(desk: Client) -> None:
    other = make_staff()
    browser = browser_of(other)
    session = browser.session
    session[sessions.KEY] = str(StaffSession.objects.get().pk)
    session.save()
    assert browser.get(INBOX).status_code == 302


def test_whoever_leaves_the_staff_is_out_at_once(desk: Client, staff: User) -> None:
    staff.is_staff = False
    staff.save()
    assert desk.get(INBOX).status_code == 404


def test_whoever_loses_the_second_factor_is_out_at_once(desk: Client, staff: User) -> None:
    without_second_factor(staff)
    assert desk.get(INBOX)["Location"] == "/account/2fa/"


def test_nothing_is_added_changed_or_deleted_here(desk: Client) -> None:
    for place in (INBOX, "/staff/djstripe/customer/"):
        assert desk.get(f"{place}add/").status_code == 404
        assert desk.post(f"{place}add/").status_code == 404
    assert "delete_selected" not in desk.get(INBOX).content.decode()
    for place in ("login/", "logout/", "password_change/"):
        assert desk.get(f"/staff/{place}").status_code == 404


@pytest.mark.parametrize("table", ["admin_portal_staffact", "admin_portal_staffsession"])
def test_what_staff_did_cannot_be_taken_back(desk: Client, table: str) -> None:
    sessions.note(StaffSession.objects.get(), "looked", ["x"])
    assert StaffAct.objects.count() == 1
    column = "what" if table.endswith("act") else "reason"
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = 'y'"):  # a list of ours
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
