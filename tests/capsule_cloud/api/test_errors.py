"""The codes of refusals are documented, and every expected failure below has one."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from capsule_cloud.api.errors import CODES, translate
from capsule_cloud.memory import limits
from capsule_cloud.memory.importing import UnreadableCapsule
from capsule_cloud.memory.selectors.capsules import CapsuleNotFound
from capsule_cloud.memory.services.sessions import SessionSealed
from tenancy.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound
from tenancy.services.invitations import InvitationInvalid
from tenancy.services.members import LastOwner


def test_the_document_lists_exactly_the_codes_that_there_are() -> None:
    text = (Path(settings.BASE_DIR) / "docs/api/errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(code, str(int(status)), meaning) for code, (status, meaning) in CODES.items()], (
        "docs/api/errors.md and capsule_cloud/api/errors.py differ: make the table say what CODES says."
    )


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (NotFound("x"), 404, "not_found"),
        (InvitationInvalid("x"), 404, "not_found"),
        (LimitReached("x"), 403, "limit_reached"),
        (Forbidden("x"), 403, "forbidden"),
        (Conflict("x"), 409, "conflict"),
        (LastOwner("x"), 409, "last_owner"),
        (Invalid("name", "x"), 422, "invalid"),
        (limits.InvalidInput("x"), 400, "bad_request"),
        (UnreadableCapsule("x"), 400, "bad_request"),
        (limits.TooLarge("x"), 413, "too_large"),
        (CapsuleNotFound("x"), 404, "not_found"),
        (SessionSealed("x"), 409, "conflict"),
    ],
)
def test_an_expected_failure_has_a_code(failure: Exception, status: int, code: str) -> None:
    refusal = translate(failure)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (status, code)


def test_an_unexpected_failure_has_none() -> None:
    assert translate(KeyError("x")) is None
