"""What an unpaid bill closes of the data plane, for everybody who stands before it."""

from tenancy.errors import TenancyError
from tenancy.models import Organization
from tenancy.roles import Right


class BillingRestricted(TenancyError):
    """An overdue invoice keeps this closed; pay it, and everything goes on (402)."""

    code = "billing_restricted"


_DATA_PLANE = {Right.MEMORY_READ, Right.MEMORY_WRITE, Right.MEMORY_DELETE}
_CLOSED: dict[str, tuple[set[Right], str]] = {
    Organization.Access.FULL: (set(), ""),
    Organization.Access.READ_ONLY: (
        {Right.MEMORY_WRITE},
        "An invoice is overdue: recalls, reads, exports and deletions go on, writes wait until it is paid.",
    ),
    Organization.Access.SUSPENDED: (
        _DATA_PLANE,
        "An invoice is long overdue: until it is paid you can list and export capsules, and delete end users.",
    ),
}


def check_paid(access: str, right: Right, *, is_way_out: bool = False) -> None:
    """Raise BillingRestricted where `access` (of Organization) has closed the right.

    What is a way out stays open: taking data away, forgetting an end user, and reporting use that has happened.
    """
    closed, sentence = _CLOSED[access]
    if right in closed and not is_way_out:
        raise BillingRestricted(sentence)
