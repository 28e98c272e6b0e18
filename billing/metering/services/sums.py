"""Keeps the hourly sums what the events say."""

from tenancy.scope import unscoped


def roll_up(*, transactions: int = 200_000) -> int:
    """Add written events that are not in the hourly sums yet; returns how many were.

    What a transaction wrote is added once every older one has ended, so an event may have to wait for the next call;
    `selectors` count it meanwhile. Each step of so many transactions commits on its own.
    """
    total, is_done = 0, False
    with unscoped(reason="usage of every organization is rolled up in one stream") as wide:
        while not is_done:
            [step] = wide.rows("metering_roll_up", transactions)
            total += step["added"]
            is_done = step["is_done"]
    return total
