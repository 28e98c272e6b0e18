"""The catalogue on the command line."""

from io import StringIO

from django.core.management import call_command


def test_the_catalogue_prints_every_price() -> None:
    output = StringIO()
    call_command("plan_catalogue", stdout=output)
    assert "pro version 1: Pro" in output.getvalue()
    assert "pro-v1-operations            0.012 usd minor units above 250,000" in output.getvalue()
