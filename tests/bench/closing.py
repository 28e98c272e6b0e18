"""Closes a month as the sweep does, for `month_close`."""

from datetime import UTC, datetime, timedelta

from billing.invoicing.services import close_due
from billing.metering.services.periods import GRACE


def close(month_after: str) -> int:
    """Draft what is over at the beginning of a month, and open it when the grace has passed; how many were opened."""
    over = datetime.fromisoformat(f"{month_after}-01").replace(tzinfo=UTC)
    close_due(now=over + timedelta(minutes=1))
    return close_due(now=over + GRACE)
