"""Which places of the log an export holds, as its page says it: from the first to the last one, both of them in it."""

from collections.abc import Callable

import pytest

from tenancy.audit.exports.models import Export
from tenancy.scope import scope
from tests.capsule_cloud.web.audit_things import make_audit_things
from tests.factories import Tenant

Page = Callable[..., str]


@pytest.mark.parametrize(
    ("first", "last", "action", "said"),
    [
        (0, 2, "", "2, places 0 to 1 of the log"),
        (4, 5, "", "2, place 4 of the log"),
        (0, 9, "memory.", "2, chosen from places 0 to 8 of the log"),
        (3, 3, "", ""),
        (None, None, "", ""),
    ],
)
def test_an_export_says_its_first_and_its_last_place(
    tenant: Tenant, page: Page, first: int | None, last: int | None, action: str, said: str
) -> None:
    things = make_audit_things(tenant)
    with scope(tenant.organization):
        Export.objects.update(first=first, last=last, action=action)  # [first, last)
    text = page(f"audit/exports/{things['audit_export_id']}/")
    assert said in text
    assert ("of the log</dd>" in text) is bool(said)
