"""Which places of the log an export holds, as its page says it: from the first to the last one, both of them in it."""

from collections.abc import Callable

import pytest

from tenancy.audit.exports.models import Export
from tenancy.scope import scope
from tests.capsule_cloud.web.audit_things import make_audit_things
from tests.factories import Tenant

Page = Callable[..., str]


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (0, 2, "of the places 0 to 1 in the log"),
        (4, 5, "of the places 4 to 4 in the log"),
        (3, 3, ""),
        (None, None, ""),
    ],
)
def test_an_export_says_its_first_and_its_last_place(
    tenant: Tenant, page: Page, first: int | None, last: int | None, said: str
) -> None:
    things = make_audit_things(tenant)
    with scope(tenant.organization):
        Export.objects.update(first=first, last=last)  # [first, last)
    text = page(f"audit/exports/{things['audit_export_id']}/")
    assert said in text
    assert ("of the places" in text) is bool(said)
