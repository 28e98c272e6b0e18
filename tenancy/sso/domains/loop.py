"""The loop that looks domains up, of all organizations: new ones often, proved ones daily.

A domain is put off when it is taken, before it is looked up: what kills a worker, or fails, is not taken at once again.
Threads only ask DNS; the database is asked by the loop alone.
"""

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from tenancy.scope import unscoped
from tenancy.sso.domains import evidence, services
from tenancy.sso.domains.services import AGAIN, Turn

AT_ONCE, SLOTS = 64, 16
OF_ONE = 8  # domains of one organization in a round, before others have a turn
BUDGET = 20.0  # seconds in which rounds are begun
LEAST = 10  # domains of a round: when name servers say nothing of so many, it is not the domains' fault
log = logging.getLogger("sso.domains")
_is_running = threading.Lock()


def check_due(*, budget: float = BUDGET) -> int:
    """Look up what is due until nothing is, or for `budget` seconds; returns how many domains were looked up.

    Where this process is at it already, 0 at once.
    """
    if not _is_running.acquire(blocking=False):
        return 0
    try:
        with ThreadPoolExecutor(SLOTS, "domain") as threads:
            return _run(threads, time.monotonic() + budget)
    finally:
        _is_running.release()


def _run(threads: ThreadPoolExecutor, ends_at: float) -> int:
    made = 0
    while time.monotonic() < ends_at and (turns := _claim()):
        begun = {threads.submit(evidence.look, one.domain, one.token): one for one in turns}
        unanswered = sum(_settle(begun[ended], ended) for ended in as_completed(begun))
        if unanswered == len(turns) >= LEAST:
            log.error("sso.name_servers_silent domains=%s", unanswered)
        made += len(turns)
    return made


def _claim() -> list[Turn]:
    with unscoped(reason="domains of every organization are looked up by one loop") as wide:
        rows = wide.rows("sso_domains_claim", AT_ONCE, OF_ONE, AGAIN)
    return [Turn(**row) for row in rows]


def _settle(turn: Turn, ended: "Future[evidence.Evidence]") -> bool:
    """Write down what a look found; whether the name servers did not say."""
    try:
        found = ended.result()
        services.settle(turn, found)
        return found.found is None
    except Exception:
        log.exception("sso.domain_failed domain=%s organization=%s", turn.domain_id, turn.organization_id)
        return False
