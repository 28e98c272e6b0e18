"""What an unpaid bill closes is one table for everybody."""

import pytest

from billing.restrictions import BillingRestricted, check_paid
from tenancy.models import Organization
from tenancy.roles import Right

DATA_PLANE = {Right.MEMORY_READ, Right.MEMORY_WRITE, Right.MEMORY_DELETE}
CLOSED = {
    Organization.Access.FULL: set[Right](),
    Organization.Access.READ_ONLY: {Right.MEMORY_WRITE},
    Organization.Access.SUSPENDED: DATA_PLANE,
}


@pytest.mark.parametrize("access", Organization.Access)
@pytest.mark.parametrize("right", Right)
def test_only_the_data_plane_closes_and_never_the_way_out(access: Organization.Access, right: Right) -> None:
    check_paid(access, right, is_way_out=True)
    if right in CLOSED[access]:
        with pytest.raises(BillingRestricted, match="overdue"):
            check_paid(access, right)
    else:
        check_paid(access, right)
