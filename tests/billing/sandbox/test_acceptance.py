"""Other people's scenarios and fixtures, written for Stripe itself, hold on the sandbox."""

import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import stripe
import yaml
from billing_e2e.runner import Runner
from billing_e2e.scenario import load_scenario, parse_config

from billing.sandbox import accounts, contract
from billing.sandbox.store import Books
from tests.billing.sandbox.conftest import Account

THEIRS = sorted(str(one) for one in files("billing_e2e").joinpath("scenarios").iterdir() if one.name.endswith(".yml"))
OURS = sorted(str(one) for one in Path(__file__).with_name("scenarios").iterdir())
# With a test key of Stripe's own they are played on Stripe too: STRIPE_TEST_KEY=sk_test_… make test ARGS="-k plays"
STRIPE_KEY = os.environ.get("STRIPE_TEST_KEY", "")
PLACES = ["sandbox", "stripe"] if STRIPE_KEY.startswith("sk_test_") else ["sandbox"]
TRIGGERS: dict[str, list[dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("triggers.yaml").read_text())


def test_there_are_five_scenarios_of_theirs() -> None:
    assert len(THEIRS) == 5


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", [*THEIRS, *OURS], ids=lambda path: path.rpartition("/")[2])
def test_a_scenario_plays(account: Account, path: str, place: str) -> None:
    if place == "stripe":
        client = stripe.StripeClient(STRIPE_KEY, stripe_version=contract.version())
        account = Account("stripe", STRIPE_KEY, account.transport, client)
    accounts.choose_after_retries(Books(account.name), accounts.CANCEL)  # as theirs was
    prices = {"monthly_price": account.price(2000).id, "upgrade_price": account.price(5000).id}
    config = parse_config({"stripe": {"key": account.key}, "vars": prices})
    played = Runner(config, account.client).run(load_scenario(path))
    assert played.passed, [(step.label, step.detail) for step in played.steps if not step.passed] + played.errors


@pytest.mark.parametrize("event", TRIGGERS)
def test_the_calls_of_stripe_trigger_are_taken_and_the_event_is_emitted(account: Account, event: str) -> None:
    answers: list[Any] = []
    for step in TRIGGERS[event]:
        method, _, path = filled(step["call"], answers).partition(" ")
        form = urlencode({name: filled(value, answers) for name, value in step.get("form", {}).items()})
        headers = {"Authorization": f"Bearer {account.key}"}
        body, status, _ = account.transport.request(method.lower(), f"https://api.stripe.com{path}", headers, form)
        answers.append(json.loads(body))
        assert status == step.get("refused", 200), body
    assert event in account.events()


def filled(text: str, answers: list[Any]) -> str:
    """The text with values from earlier answers in place of `{0.id}`."""

    def value(found: re.Match[str]) -> str:
        at: Any = answers
        for name in found[1].split("."):
            at = at[int(name)] if isinstance(at, list) else at[name]
        return str(at)

    return re.sub(r"\{([0-9][\w.]*)\}", value, text)
