"""The loop that looks domains up, of all organizations: new ones often, proved ones daily.

A domain is put off when it is taken, before it is looked up: what kills a worker, or fails, is not taken at once again.
Threads only ask DNS; the database is asked by the loop alone.
"""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from tenancy.scope import unscoped
from tenancy.sso.domains import evidence, services
from tenancy.sso.domains.services import AGAIN, Turn

AT_ONCE, SLOTS = 64, 16
OF_ONE = 8  # domains of one organization in a round, before others have a turn
BUDGET = 20.0  # seconds in which rounds are begun
log = logging.getLogger("sso.domains")


def check_due(*, budget: float = BUDGET) -> int:
    """Look up what is due until nothing is, or for `budget` seconds; returns how many domains were looked up."""
    ends_at, made = time.monotonic() + budget, 0
    with ThreadPoolExecutor(SLOTS, "domain") as threads:
        while time.monotonic() < ends_at and (turns := _claim()):
            begun = {threads.submit(evidence.look, one.domain, one.token): one for one in turns}
            for ended in as_completed(begun):
                _settle(begun[ended], ended)
            made += len(turns)
    return made


def _claim() -> list[Turn]:
    with unscoped(reason="domains of every organization are looked up by one loop") as wide:
        rows = wide.rows("sso_domains_claim", AT_ONCE, OF_ONE, AGAIN)
    return [Turn(**row) for row in rows]


def _settle(turn: Turn, ended: "Future[evidence.Evidence]") -> None:
    try:
        services.settle(turn, ended.result())
    except Exception:
        log.exception("sso.domain_failed domain=%s organization=%s", turn.domain_id, turn.organization_id)
