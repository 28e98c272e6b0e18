"""The wire: keys, versions, repeated requests, unknown parameters, and errors in Stripe's shape."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import stripe
from django.conf import LazySettings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from billing.sandbox import contract, guard, keys, reduce_contract
from billing.sandbox.routing import ROUTES
from billing.sandbox.transport import SandboxTransport
from tests.billing.sandbox.conftest import Account


def raw(account: Account, method: str, path: str, form: str = "", **headers: str) -> tuple[Any, int]:
    """One request as it goes over the wire: the answer and its status."""
    given = {"Authorization": f"Bearer {account.key}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    body, status, _ = account.transport.request(method, f"https://api.stripe.com{path}", given, form)
    return json.loads(body), status


def test_the_contract_is_of_the_pinned_version_and_has_what_is_answered(settings: LazySettings) -> None:
    assert contract.version() == settings.STRIPE_API_VERSION
    assert set(contract.document()["operations"]) == set(ROUTES)


def test_a_reduced_contract_keeps_what_is_asked_for_alone() -> None:
    text = {"type": "string", "nullable": True, "description": "x", "maxLength": 5}
    reference = {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/other"}], "x-expansionResources": {}}
    thing = {"type": "object", "x-resourceId": "thing", "properties": {"title": text, "other": reference}}
    answer = {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/thing"}}}}}
    paths = {f"/v1/{name}": {"get": {"parameters": [], "responses": answer}} for name in ("things", "others")}
    schemas = {"thing": thing, "other": {"type": "object"}, "error": {"type": "object"}}
    document = {"info": {"version": "v"}, "paths": paths, "components": {"schemas": schemas}}
    found = reduce_contract.reduce(document, ["GET /v1/things"])
    assert list(found["operations"]) == ["GET /v1/things"]
    assert set(found["$defs"]) == {"thing", "error"}
    assert found["$defs"]["thing"]["properties"] == {
        "title": {"type": ["string", "null"], "maxLength": 5},
        "other": {"type": ["string", "object"]},
    }


def test_the_account_answers(account: Account) -> None:
    found = account.client.v1.accounts.retrieve_current()
    assert (found.id, found.country) == (account.name, "US")


def test_a_wrong_key_opens_nothing(account: Account) -> None:
    wrong = stripe.StripeClient("sk_test_wrong", http_client=account.transport, stripe_version=contract.version())
    with pytest.raises(stripe.AuthenticationError, match="Invalid API Key provided: sk_test_"):
        wrong.v1.customers.list()
    assert raw(account, "get", "/v1/customers", Authorization="")[1] == 401
    assert raw(account, "get", "/v1/customers", Stripe_Account="acct_other")[1] == 403


def test_accounts_do_not_see_each_other(account: Account, another: Callable[[], Account]) -> None:
    customer = account.customer()
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        another().client.v1.customers.retrieve(customer.id)


def test_another_version_is_refused(account: Account) -> None:
    answer, status = raw(account, "get", "/v1/customers", Stripe_Version="2020-08-27")
    assert status == 400
    assert "2020-08-27" in answer["error"]["message"]


def test_an_unknown_parameter_is_refused_at_any_depth(account: Account) -> None:
    for form, name in (("coupon=x", "coupon"), ("invoice_settings[foo]=1", "invoice_settings[foo]")):
        answer, status = raw(account, "post", "/v1/customers", form)
        assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "parameter_unknown", name)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/v1/prices", ""),
        ("/v1/prices", "currency=usd&product=prod_none&unit_amount=-1"),
        ("/v1/prices", "currency=usd&product=prod_none&unit_amount=abc"),
        ("/v1/coupons", "percent_off=120&duration=once"),
        ("/v1/coupons", "duration=once"),
        ("/v1/customers", "a[b]=1&a=2&metadata=x"),
        ("/v1/subscriptions", "customer=cus_none"),
        ("/v1/test_helpers/test_clocks", ""),
        ("/v1/billing/meters", "display_name=x"),
        ("/v1/customers", "name=a%00b"),
        ("/v1/customers", f"name={'x' * 300}"),
        ("/v1/test_helpers/test_clocks", "frozen_time=99999999999"),
        ("/v1/subscription_schedules", "phases[0][items]=x"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(account: Account, path: str, form: str) -> None:
    answer, status = raw(account, "post", path, form)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert account.events() == []


def test_what_is_not_there_is_404(account: Account) -> None:
    for path in ("/v1/customers/cus_none", "/v1/nonsense", "/v1/invoices/in_none", "/v1/customers/a%00b"):
        assert raw(account, "get", path)[1] == 404


def test_an_id_of_one_s_own_may_have_any_letters(account: Account) -> None:
    made = account.client.v1.coupons.create({"id": "20 % off/all", "percent_off": 20, "duration": "once"})
    assert account.client.v1.coupons.retrieve(made.id).percent_off == 20


def test_a_repeated_request_is_answered_as_before(account: Account) -> None:
    first = raw(account, "post", "/v1/customers", "email=a@example.com", Idempotency_Key="k-1")
    again = raw(account, "post", "/v1/customers", "email=a@example.com", Idempotency_Key="k-1")
    other, status = raw(account, "post", "/v1/customers", "email=b@example.com", Idempotency_Key="k-1")
    assert first == again
    assert (status, other["error"]["type"]) == (400, "idempotency_error")
    assert len(account.client.v1.customers.list().data) == 1


def test_an_endless_key_is_refused(account: Account) -> None:
    assert raw(account, "post", "/v1/customers", Idempotency_Key="k" * 256)[1] == 400


def test_a_repeated_refusal_of_a_card_charges_nobody_again(account: Account) -> None:
    customer = account.customer("pm_card_chargeCustomerFail")
    made = account.subscribe(customer.id, account.price().id)
    form = {"idempotency_key": "pay-once"}
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            account.client.v1.invoices.pay(str(made.latest_invoice), options=form)  # type: ignore[arg-type]
    assert account.client.v1.invoices.retrieve(str(made.latest_invoice)).attempt_count == 2


def test_two_at_once_make_one(committed_account: Account) -> None:
    customer, price = committed_account.customer(), committed_account.price()
    form = f"customer={customer.id}&items[0][price]={price.id}"

    def subscribe() -> None:
        raw(committed_account, "post", "/v1/subscriptions", form, Idempotency_Key="tabs")
        connections.close_all()

    tabs = [threading.Thread(target=subscribe) for _ in range(4)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert len(committed_account.client.v1.subscriptions.list().data) == 1


def test_lists_go_page_by_page_newest_first(account: Account) -> None:
    made = [account.client.v1.customers.create({"name": str(number)}).id for number in range(7)]
    listed = [one.id for one in account.client.v1.customers.list({"limit": 3}).auto_paging_iter()]
    assert listed == made[::-1]
    page = account.client.v1.customers.list({"limit": 2, "ending_before": made[2]})
    assert [one.id for one in page.data] == [made[4], made[3]]
    with pytest.raises(stripe.InvalidRequestError):
        account.client.v1.customers.list({"starting_after": "cus_none"})


def test_ids_are_expanded_where_asked(account: Account) -> None:
    made = account.subscribe(account.customer().id, account.price().id)
    expand = ["customer", "latest_invoice.payments.data.payment.payment_intent", "latest_invoice.lines"]
    found: Any = account.client.v1.subscriptions.retrieve(made.id, {"expand": expand})
    assert found.customer.email == "a@example.com"
    assert found.latest_invoice.payments.data[0].payment.payment_intent.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        account.client.v1.subscriptions.retrieve(made.id, {"expand": ["nonsense"]})


def test_metadata_is_merged_and_taken_away(account: Account) -> None:
    customer = account.client.v1.customers.create({"metadata": {"a": "1", "b": "2"}})
    changed = account.client.v1.customers.update(customer.id, {"metadata": {"a": "", "c": "3"}})
    assert changed.to_dict()["metadata"] == {"b": "2", "c": "3"}
    [event] = account.client.v1.events.list({"type": "customer.updated"}).data
    assert event.to_dict()["data"]["previous_attributes"] == {"metadata": {"a": "1", "c": None}}


def test_the_sandbox_does_not_run_beside_a_key_of_stripe_s(settings: LazySettings) -> None:
    settings.STRIPE_API_KEY = "sk_live_abc"
    with pytest.raises(ImproperlyConfigured, match="STRIPE_SECRET_KEY"):
        SandboxTransport()


def test_a_live_key_for_the_sandbox_is_found_by_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guard.live_key(None) == []
    monkeypatch.setattr(keys, "secret_key", lambda: "sk_live_abc")
    assert [error.id for error in guard.live_key(None)] == ["sandbox.E001"]


def test_the_installation_s_own_account_has_its_own_key(db: None) -> None:
    own = stripe.StripeClient(keys.secret_key(), http_client=SandboxTransport(), stripe_version=contract.version())
    assert own.v1.accounts.retrieve_current().id == keys.ACCOUNT
