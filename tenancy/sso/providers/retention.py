"""Deletes the traces of sign-ins that are older than anybody looks back, of every organization."""

import logging

from django.db import DatabaseError

from tenancy.scope import scope, unscoped
from tenancy.sso.providers import sign_in

ORGANIZATIONS = 1_000  # in a run; the next goes on with the others
log = logging.getLogger("sso.providers")


def forget_due() -> int:
    """Delete what is due; how many traces that were. One organization that fails does not keep the others."""
    with unscoped(reason="traces of sign-ins of every organization grow old") as wide:
        rows = wide.rows("sso_sign_ins_old", sign_in.KEPT_FOR, ORGANIZATIONS)
    deleted = 0
    for row in rows:
        try:
            with scope(row["organization_id"]):
                deleted += sign_in.forget_old()
        except DatabaseError:
            log.exception("sso.forgetting_failed organization=%s", row["organization_id"])
    return deleted
