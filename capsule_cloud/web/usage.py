"""Counts what people change in the console as the API counts the same: a write costs the same wherever it is made.

Looking around is free: pages, searches and comparisons leave no usage event.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from billing.metering.meters import Meter
from billing.metering.services import Use, record
from billing.quotas.services import admit, let_in, undo
from billing.restrictions import check_paid
from tenancy.access import MemberPrincipal
from tenancy.models import Project
from tenancy.roles import Right
from tenancy.selectors import organization

Result = TypeVar("Result")
WAYS_OUT = {Meter.EXPORT, Meter.DELETE}  # an unpaid bill keeps nobody from them


def counted(
    member: MemberPrincipal,
    project: Project,
    meter: Meter,
    call: Callable[[], Result],
    end_user: Callable[[Result], str] = lambda _: "",
) -> Callable[[], Result]:
    """The service call, and its usage event in the same transaction; `end_user` finds in the result whose it was.

    No key is behind it. A refused call counts for nothing. Run in a savepoint; raises QuotaReached, also where the end
    user is one too many, or BillingRestricted where an unpaid bill has closed writes.
    """

    def call_and_count() -> Result:
        check_paid(organization().access, Right.MEMORY_WRITE, is_way_out=meter in WAYS_OUT)
        use = Use(member.organization_id, project.pk, None, meter)
        receipt = admit(use)
        try:
            result = call()
        except BaseException:
            undo(receipt)
            raise
        use = replace(use, end_user=end_user(result))
        let_in(use)
        record(use)
        return result

    return call_and_count
