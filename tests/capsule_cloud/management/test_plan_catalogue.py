"""The catalogue on the command line."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.factories import Tenant


def test_the_catalogue_prints_every_price() -> None:
    output = StringIO()
    call_command("plan_catalogue", stdout=output)
    assert "pro version 1: Pro" in output.getvalue()
    assert "pro-v1-operations            0.012 usd minor units above 250,000" in output.getvalue()


@pytest.mark.django_db
def test_what_stripe_lacks_is_an_error_until_it_is_pushed() -> None:
    with pytest.raises(CommandError, match="pro-v1-monthly is missing at Stripe"):
        call_command("plan_catalogue", "--diff")
    output = StringIO()
    call_command("plan_catalogue", "--push", stdout=output)
    call_command("plan_catalogue", "--diff", stdout=output)
    call_command("plan_catalogue", "--push", stdout=output)
    lines = output.getvalue().splitlines()
    assert "made price pro-v1-monthly" in lines
    assert lines[-2:] == ["Stripe has what the catalogue says.", "made nothing: Stripe has everything"]


@pytest.mark.django_db
def test_a_simulation_prints_a_line_for_everybody_and_the_sum(tenant: Tenant) -> None:
    output = StringIO()
    call_command("plan_catalogue", "--simulate", "pro", stdout=output)
    first, *lines, last = output.getvalue().splitlines()
    assert first.endswith("by pro version 1, without commits, credits and taxes")
    [mine] = [line for line in lines if tenant.organization.slug in line]
    assert mine.endswith("free v1          $0.00 -> $29.00")
    assert last.startswith("together in usd: ")


def test_a_plan_that_is_none_is_not_simulated() -> None:
    with pytest.raises(CommandError, match="no plan 'gold'"):
        call_command("plan_catalogue", "--simulate", "gold")
