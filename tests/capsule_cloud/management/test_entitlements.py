"""Staff look after entitlements on the command line."""

import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tenancy.models import Organization, User
from tenancy.scope import scope
from tests.factories import Tenant, make_user


def run(tenant: Tenant, *arguments: str) -> str:
    """What the command prints."""
    output = StringIO()
    call_command("entitlements", tenant.organization.slug, *arguments, stdout=output)
    return output.getvalue()


def staff(name: str) -> User:
    """A member of staff."""
    user = make_user(name)
    user.is_staff = True
    user.save()
    return user


def test_it_shows_the_plan_and_every_column(tenant: Tenant) -> None:
    shown = run(tenant)
    assert shown.startswith("free version 1 (free)\n")
    assert re.search(r"operation_limit +25000\n", shown)
    assert re.search(r"features +mcp\n", shown)


def test_one_member_of_staff_grants_and_another_approves_and_ends(tenant: Tenant) -> None:
    max_, eva = staff("Max"), staff("Eva")
    shown = run(tenant, "--grant", "operation_limit=null", "--reason", "A pilot", "--by", max_.email)
    [override] = re.findall(r"(\S+) operation_limit=null asked by", shown)
    with pytest.raises(CommandError, match="Somebody else"):
        run(tenant, "--approve", override, "--by", max_.email)
    shown = run(tenant, "--approve", override, "--by", eva.email)
    assert re.search(r"operation_limit +none   instead of 25000\n", shown)
    assert f"operation_limit=null by {max_.email} and {eva.email} until" in shown
    assert f"ended by {eva.email}: A pilot" in run(tenant, "--end", override, "--by", eva.email)
    with scope(tenant.organization):
        assert Organization.objects.get().operation_limit == 25_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grant", "key_limit=60", "--reason", "x"], "member of staff"),
        (["--grant", "key_limit=60", "--reason", "x", "--by", "{owner}"], "member of staff"),
        (["--grant", "key_limit=many", "--reason", "x", "--by", "{staff}"], "JSON"),
        (["--grant", "key_limit=60", "--by", "{staff}"], "Say why"),
        (["--grant", "key_limit=60", "--reason", "x", "--days", "0", "--by", "{staff}"], "future"),
        (["--grant", "name=60", "--reason", "x", "--by", "{staff}"], "choose one of"),
        (["--end", "01a20ee1-f322-7411-824f-71634cd3688e", "--by", "{staff}"], "no such override"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(tenant: Tenant, arguments: list[str], message: str) -> None:
    names = {"owner": tenant.owner.email, "staff": staff("Max").email}
    with pytest.raises(CommandError, match=message):
        run(tenant, *(one.format(**names) for one in arguments))
    with scope(tenant.organization):
        assert Organization.objects.get().key_limit == 50


@pytest.mark.django_db
def test_an_organization_that_is_none_is_named() -> None:
    with pytest.raises(CommandError, match="organization"):
        call_command("entitlements", "no-such-organization")
