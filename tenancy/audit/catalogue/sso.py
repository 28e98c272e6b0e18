"""Actions about single sign-on: the domains that an organization proves to be its own."""

from tenancy.audit.catalogue.action import TEXT, Action, Kind, Severity

_STATE = {"state": TEXT}
DOMAIN_ADDED = Action(
    "sso.domain.added", "said that a domain is the organization's", Kind.CREATE, severity=Severity.LOW
)
DOMAIN_VERIFIED = Action(
    "sso.domain.verified",
    "proved that a domain is the organization's",
    Kind.UPDATE,
    changes=_STATE,
    severity=Severity.MEDIUM,
)
DOMAIN_LOST = Action(
    "sso.domain.lost",
    "found the record of a verified domain gone for two days",
    Kind.UPDATE,
    changes=_STATE,
    severity=Severity.HIGH,
)
DOMAIN_RELEASED = Action(
    "sso.domain.released",
    "took back that a domain is the organization's: another proved it, or staff decided",
    Kind.UPDATE,
    changes=_STATE,
    severity=Severity.HIGH,
)
DOMAIN_REMOVED = Action("sso.domain.removed", "gave up a domain", Kind.DELETE, changes=_STATE, severity=Severity.MEDIUM)
