"""What allauth asks of a provider goes by the one door, a few requests at once, and to nobody else."""

import threading

import pytest
import requests
from allauth.socialaccount.adapter import get_adapter
from django.test import RequestFactory

from tenancy.sso.models import IdentityProvider
from tenancy.sso.oidc import addresses, outgoing
from tests.tenancy.sso.oidc.issuer import Issuer, json_answer


def test_a_slow_provider_holds_up_two_requests_and_no_more(
    row: IdentityProvider, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "PATIENCE", 0.01)
    both_wait, may_end = threading.Barrier(3), threading.Event()

    def slow() -> object:
        both_wait.wait(10)
        may_end.wait(10)
        return json_answer({})

    issuer.answers["/keys"] = slow  # type: ignore[assignment]
    codes: list[int] = []

    def ask(path: str = "/keys") -> None:
        with outgoing.asking(row.pk), get_adapter().get_requests_session() as session:
            codes.append(session.get(f"{issuer.url}{path}").status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    both_wait.wait(10)
    with pytest.raises(requests.ConnectionError, match="we ask it nothing more"):
        ask("/userinfo")
    may_end.set()
    for thread in threads:
        thread.join()
    ask("/userinfo")
    assert codes == [200, 200, 200]


def test_nobody_is_asked_where_it_is_not_said_whose_provider_it_is(issuer: Issuer) -> None:
    with get_adapter().get_requests_session() as session, pytest.raises(LookupError):
        session.get(f"{issuer.url}/keys")
    assert not issuer.asked


def test_allauth_knows_no_provider_but_ours_and_lets_nobody_in_by_itself(db: None) -> None:
    adapter, request = get_adapter(), RequestFactory().get("/")
    assert adapter.list_apps(request, "openid_connect") == []
    assert not adapter.is_open_for_signup(request, None)


def test_each_provider_has_addresses_of_its_own(row: IdentityProvider) -> None:
    ours = f"http://testserver/sso/oidc/{row.pk}"
    assert addresses.redirect_uri(row.pk) == f"{ours}/callback/"
    assert addresses.backchannel_logout_uri(row.pk) == f"{ours}/backchannel-logout/"
    assert addresses.initiate_login_uri(row.pk) == f"{ours}/login/"
