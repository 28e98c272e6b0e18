"""Whatever is sent as a passkey, to each of the four addresses that take one, is refused and breaks nothing."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from tenancy.models import User
from tests.factories import PASSWORD, make_user

CREDENTIAL = {"id": "eA", "rawId": "eA", "type": "public-key"}
RESPONSES: list[Any] = [7, [], {"clientDataJSON": "eA"}]
OF_ANOTHER_SHAPE = ['"x"', "[1]", '{"id": 1}', "9", "{"]
OF_ANOTHER_SHAPE += [json.dumps(CREDENTIAL | {"response": response}) for response in RESPONSES]
WHAT_NO_BROWSER_SENDS = ["[" * 100_000, "[" * 940 + "]" * 940, '{"a":' * 70 + "1" + "}" * 70, "1" * 5000]


def of_nobody(user: User) -> Client:
    """In a network of its own: attempts from one network are limited."""
    place = uuid4().hex
    return Client(raise_request_exception=False, REMOTE_ADDR=f"2001:{place[:4]}:{place[4:8]}:{place[8:12]}::1")


def after_the_password(user: User) -> Client:
    browser = of_nobody(user)
    browser.post("/account/login/", {"login": user.email, "password": PASSWORD})
    return browser


def before_the_second_factor(user: User) -> Client:
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": "unused"})
    return after_the_password(user)


def about_to_confirm(user: User) -> Client:
    browser = of_nobody(user)
    browser.force_login(user)
    Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data={"name": "Phone"})
    return browser


def just_confirmed(user: User) -> Client:
    browser = after_the_password(user)
    browser.post("/account/reauthenticate/", {"password": PASSWORD})
    assert browser.get("/account/2fa/webauthn/add/").status_code == 200  # a challenge is waiting
    return browser


TAKERS = pytest.mark.parametrize(
    ("address", "browser_of"),
    [
        ("/account/2fa/webauthn/login/", of_nobody),
        ("/account/2fa/authenticate/", before_the_second_factor),
        ("/account/2fa/webauthn/reauthenticate/", about_to_confirm),
        ("/account/2fa/webauthn/add/", just_confirmed),
    ],
    ids=["sign in", "second factor", "confirm", "add"],
)


@TAKERS
def test_a_credential_of_another_shape_is_refused(db: None, address: str, browser_of: Callable[[User], Client]) -> None:
    user = make_user()
    browser = browser_of(user)
    before = Authenticator.objects.filter(user=user).count()
    for credential in OF_ANOTHER_SHAPE:
        answer = browser.post(address, {"credential": credential, "name": "Laptop"})
        assert answer.status_code in {200, 302}, credential
    assert Authenticator.objects.filter(user=user).count() == before


@TAKERS
@pytest.mark.parametrize("credential", WHAT_NO_BROWSER_SENDS, ids=lambda text: f"{text[:5]} {len(text)}")
def test_a_credential_that_no_browser_sends_is_a_bad_request(
    db: None, address: str, browser_of: Callable[[User], Client], credential: str
) -> None:
    answer = browser_of(make_user()).post(address, {"credential": credential, "name": "Laptop"})
    assert answer.status_code == 400
    assert b"made no sense" in answer.content
