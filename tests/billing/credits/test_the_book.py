"""PostgreSQL itself keeps the ledger balanced, its sums true, and its past as it was."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone
from psycopg.errors import CheckViolation, ForeignKeyViolation, InsufficientPrivilege

from billing.credits.models import Account, Grant, Transaction
from billing.credits.services import burn
from tenancy.audit.services import SYSTEM
from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.services import organizations
from tests.billing.credits.conftest import Give
from tests.factories import Tenant, make_tenant
from tests.raw import connect, insert, inside, rows_of

TABLES = ["credits_account", "credits_grant", "credits_transaction", "credits_entry"]


@pytest.fixture
def app(committed: Tenant) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the application's role."""
    with connect("app") as connection:
        yield connection


@pytest.fixture
def made(committed: Tenant, give: Give) -> Grant:
    """A grant of 100 with a burn of 10."""
    with scope(committed.organization):
        grant = give(100)
        burn(actor=SYSTEM, amount=10, currency="usd", ref="first")
        return grant


def a_transaction(tenant: Tenant, amount: int, currency: str = "usd") -> dict[str, Any]:
    """A row for credits_transaction."""
    return {
        "id": uuid.uuid4(),
        "organization_id": tenant.organization.pk,
        "kind": "burn",
        "currency": currency,
        "asked": amount,
        "amount": amount,
        "ref": uuid.uuid4().hex,
        "reason": "",
        "author": "{}",
        "occurred_at": timezone.now(),
    }


def an_entry(transaction: uuid.UUID, grant: Grant, kind: str, amount: int, currency: str = "usd") -> dict[str, Any]:
    """A row for credits_entry."""
    with scope(grant.organization_id):
        account = Account.objects.get(kind=kind, currency=currency)
    return {
        "id": uuid.uuid4(),
        "organization_id": grant.organization_id,
        "transaction_id": transaction,
        "account_id": account.pk,
        "grant_id": grant.pk,
        "amount": amount,
    }


def write(app: psycopg.Connection[Any], tenant: Tenant, *rows: tuple[str, dict[str, Any]]) -> None:
    """Commit rows of the ledger by hand."""
    with inside(app, tenant.organization.pk):
        for table, row in rows:
            insert(app, f"credits_{table}", row)


def test_entries_that_do_not_sum_to_zero_are_refused_at_commit(
    app: psycopg.Connection[Any], committed: Tenant, made: Grant
) -> None:
    row = a_transaction(committed, 5)
    entries = [an_entry(row["id"], made, "balance", -4), an_entry(row["id"], made, "burned", 5)]
    with pytest.raises(CheckViolation, match="do not sum to zero"):
        write(app, committed, ("transaction", row), *(("entry", entry) for entry in entries))
    with scope(committed.organization):
        assert Grant.objects.get().remaining == 90


def test_a_transaction_without_its_entries_is_refused_at_commit(
    app: psycopg.Connection[Any], committed: Tenant, made: Grant
) -> None:
    with pytest.raises(CheckViolation, match="are not its amount"):
        write(app, committed, ("transaction", a_transaction(committed, 5)))


def test_nothing_is_added_to_a_transaction_of_the_past(
    app: psycopg.Connection[Any], committed: Tenant, made: Grant
) -> None:
    with scope(committed.organization):
        past = Transaction.objects.get(ref="first")
    entries = [an_entry(past.pk, made, "balance", -1), an_entry(past.pk, made, "burned", 1)]
    with pytest.raises(CheckViolation, match="are not its amount"):
        write(app, committed, *(("entry", entry) for entry in entries))


def test_currencies_never_mix(app: psycopg.Connection[Any], committed: Tenant, made: Grant, give: Give) -> None:
    with scope(committed.organization):
        give(100, currency="eur")
    row = a_transaction(committed, 5)
    entries = [an_entry(row["id"], made, "balance", -5, "eur"), an_entry(row["id"], made, "burned", 5, "eur")]
    with pytest.raises(CheckViolation, match="mixes currencies"):
        write(app, committed, ("transaction", row), *(("entry", entry) for entry in entries))


def test_no_grant_gives_more_than_it_has(app: psycopg.Connection[Any], committed: Tenant, made: Grant) -> None:
    row = a_transaction(committed, 91)
    entry = an_entry(row["id"], made, "balance", -91)
    with pytest.raises(CheckViolation, match="overspent"):
        write(app, committed, ("transaction", row), ("entry", entry))


def test_an_entry_cannot_use_the_accounts_of_another_organization(
    app: psycopg.Connection[Any], committed: Tenant, made: Grant, give: Give
) -> None:
    other = make_tenant()
    with scope(other.organization):
        give(100)
        theirs = Account.objects.get(kind="burned")
    row = a_transaction(committed, 5)
    mine = an_entry(row["id"], made, "balance", -5)
    foreign = mine | {"id": uuid.uuid4(), "account_id": theirs.pk, "amount": 5}
    with pytest.raises(ForeignKeyViolation):
        write(app, committed, ("transaction", row), ("entry", mine), ("entry", foreign))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE credits_account SET balance = 1000000",
        "UPDATE credits_grant SET remaining = amount",
        "UPDATE credits_grant SET expires_at = NULL",
        "UPDATE credits_transaction SET amount = 1",
        "UPDATE credits_entry SET amount = 1",
        "DELETE FROM credits_account",
        "DELETE FROM credits_grant",
        "DELETE FROM credits_transaction",
        "DELETE FROM credits_entry",
    ],
)
def test_the_application_cannot_rewrite_the_book(
    statement: str, app: psycopg.Connection[Any], committed: Tenant, made: Grant
) -> None:
    with pytest.raises(InsufficientPrivilege), inside(app, committed.organization.pk):
        app.execute(statement.encode())


@pytest.mark.parametrize("table", ["credits_transaction", "credits_entry"])
def test_not_even_the_tables_owner_changes_what_is_written(table: str, committed: Tenant, made: Grant) -> None:
    with connect("owner") as owner:
        with pytest.raises(InsufficientPrivilege, match="never changed"), inside(owner, committed.organization.pk):
            owner.execute(f"UPDATE {table} SET amount = 1".encode())
        with pytest.raises(InsufficientPrivilege, match="never changed"):
            owner.execute(f"TRUNCATE {table} CASCADE".encode())


@pytest.mark.parametrize(("table", "column"), [("credits_account", "balance"), ("credits_grant", "remaining")])
def test_sums_start_at_nothing_whatever_the_statement_says(
    table: str, column: str, app: psycopg.Connection[Any], committed: Tenant
) -> None:
    base = {"id": uuid.uuid4(), "organization_id": committed.organization.pk, "currency": "chf", column: 50}
    more: dict[str, Any] = {"kind": "balance", "opened_at": timezone.now()}
    if table == "credits_grant":
        more = {"amount": 50, "priority": 1, "category": "paid", "reason": "x", "author": "{}"}
        more["created_at"] = timezone.now()
    with inside(app, committed.organization.pk):
        insert(app, table, base | more)
        assert app.execute(f"SELECT {column} FROM {table} WHERE id = %s".encode(), [base["id"]]).fetchone() == (0,)


@pytest.mark.parametrize("table", TABLES)
def test_the_ledger_of_a_living_organization_cannot_be_purged(
    table: str, app: psycopg.Connection[Any], committed: Tenant, made: Grant
) -> None:
    organization_id = committed.organization.pk
    before = rows_of(table, "organization_id", organization_id)
    with pytest.raises(InsufficientPrivilege, match="closed"), inside(app, organization_id):
        app.execute(f"SELECT {table}_purge(%s)".encode(), [organization_id])
    assert rows_of(table, "organization_id", organization_id) == before


def test_a_purged_organization_leaves_no_ledger(committed: Tenant, made: Grant) -> None:
    with scope(committed.organization):
        organizations.close(actor=committed.actor)
        Organization.objects.update(closed_at=timezone.now() - timedelta(days=31))
    organizations.purge_due()
    assert [rows_of(table, "organization_id", committed.organization.pk) for table in TABLES] == [[]] * 4
