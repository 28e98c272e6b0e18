"""Actions about groups of identity providers and directories, and the roles that they give."""

from tenancy.audit.catalogue.action import TEXT, WHOLE, Action, Kind, Severity

GROUP_ROLE_CHANGED = Action(
    "sso.group.role_changed",
    "changed which role a group gives: before, after, or none",
    Kind.GRANT,
    has={
        "people": {**WHOLE, "description": "Whose roles changed with it, and with what was changed in the same step."}
    },
    may={"project": TEXT},
    changes={"role": TEXT},
    severity=Severity.HIGH,
)
OWNER_KEPT = Action(
    "sso.group.owner_kept",
    "stayed an owner though their groups give another role: nobody else could be one",
    Kind.OTHER,
    severity=Severity.CRITICAL,
)
