"""Staff enter contracts, change and end them, and note payments, from the command line; the trail says who."""

import json
import re
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing.invoicing import services
from billing.invoicing.models import Contract, Invoice
from billing.models import Subscription
from tenancy.models import User
from tenancy.scope import scope
from tests.billing.invoicing.conftest import committed
from tests.factories import Tenant
from tests.trail import audited

__all__ = ["committed"]

RUNBOOK = Path("docs/runbooks/contracts.md")


@pytest.fixture
def by(transactional_db: None) -> str:
    email = f"staff-{timezone.now().timestamp()}@us.example"
    User.objects.create_user(email=email, is_staff=True)
    return email


def run(tenant: Tenant, *words: str) -> str:
    output = StringIO()
    call_command("contracts", tenant.organization.slug, *words, stdout=output)
    return output.getvalue()


def written(folder: Path, **changes: Any) -> str:
    """The example of the runbook, changed."""
    found = re.search(r"```json\n(.+?)```", RUNBOOK.read_text(), re.DOTALL)
    assert found is not None
    file = folder / "contract.json"
    file.write_text(json.dumps(json.loads(found.group(1)) | changes))
    return str(file)


def test_a_contract_is_entered_before_it_starts_and_withdrawn(committed: Tenant, by: str, tmp_path: Path) -> None:
    start = (timezone.now() + timedelta(days=40)).isoformat()
    said = run(committed, "--by", by, "--sign", written(tmp_path, starts_at=start))
    assert "ACME-2026 (not begun): enterprise v1" in said
    assert "commit $9,000.00, used $0.00, true-up to expect $6,000.00" in said
    with scope(committed.organization):
        contract = Contract.objects.get()
        assert (contract.seats, contract.seat_price, contract.po_number) == (120, 550, "PO 4711")
        assert contract.allowances == {"operations": {"quantity": 30_000_000, "overage": "0.004"}}
    assert run(committed, "--by", by, "--end", "ACME-2026", "--reason", "They left") == ""
    with scope(committed.organization):
        trail = audited("billing.contract.")
        assert {event.actor["label"] for event in trail} == {by}


def test_a_contract_is_invoiced_paid_and_given_more_seats(committed: Tenant, by: str, tmp_path: Path) -> None:
    start = (timezone.now() - timedelta(days=40)).isoformat()
    run(committed, "--by", by, "--sign", written(tmp_path, starts_at=start))
    services.close_due(now=timezone.now())
    with scope(committed.organization):
        number = str(Invoice.objects.get().number)
    assert f"Open: {number}, $1,110.00" in run(committed)
    assert number not in run(committed, "--by", by, "--paid", number, "--reason", "SEPA 12345")
    run(committed, "--by", by, "--seats", "140")
    with scope(committed.organization):
        assert (Invoice.objects.get().settlement, Subscription.objects.get().seats) == ("SEPA 12345", 140)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--end", "C-9"], "There is no 'C-9' here"),
        (["--paid", "N-9"], "There is no 'N-9' here"),
        (["--seats", "7"], "Nothing was agreed here"),
        (["--sign", "nowhere.json"], "This is no contract"),
        (["--sign", "README.md"], "This is no contract"),
    ],
)
def test_what_cannot_be_done_says_why(words: list[str], said: str, committed: Tenant, by: str) -> None:
    with pytest.raises(CommandError, match=said):
        run(committed, "--by", by, *words)


def test_a_word_that_no_contract_has_is_refused(committed: Tenant, by: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"This is no contract.*colour"):
        run(committed, "--by", by, "--sign", written(tmp_path, colour="red"))


def test_nobody_signs_without_a_name(committed: Tenant, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="Say who does it"):
        run(committed, "--sign", written(tmp_path))
