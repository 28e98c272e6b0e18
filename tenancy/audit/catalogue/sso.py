"""Actions about single sign-on: domains, identity providers, and who comes by them."""

from tenancy.audit.catalogue.action import FLAG, MOMENT, SECRET, TEXT, WHOLE, Action, Kind, Severity

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
_PROVIDER = {
    "name": TEXT,
    "entity_id": TEXT,
    "metadata_sha256": TEXT,  # whoever exchanges a certificate can be anybody, even where nothing else differs
    "metadata_url": TEXT,
    "metadata_certificate_sha256": TEXT,  # of whoever must have signed what is fetched
    "certificate_expires_at": MOMENT,
    "email_attribute": TEXT,
    "name_attribute": TEXT,
    "groups_attribute": TEXT,
    "is_mfa_trusted": FLAG,
    "default_role": TEXT,
    "is_unsolicited_allowed": FLAG,
    "protocol": TEXT,
    "issuer": TEXT,
    "client_id": TEXT,
    "client_secret": SECRET,
    "token_auth_method": TEXT,
    "more_scopes": TEXT,
}
_KEYS = {"certificate_sha256": TEXT, "spare_certificate_sha256": TEXT}
PROVIDER_ADDED = Action(
    "sso.provider.added", "added an identity provider", Kind.CREATE, changes=_PROVIDER, severity=Severity.MEDIUM
)
PROVIDER_CHANGED = Action(
    "sso.provider.changed", "changed an identity provider", Kind.UPDATE, changes=_PROVIDER, severity=Severity.MEDIUM
)
PROVIDER_SWITCHED = Action(
    "sso.provider.switched",
    "switched an identity provider on or off",
    Kind.UPDATE,
    changes=_STATE,
    severity=Severity.HIGH,
)
PROVIDER_TESTED = Action("sso.provider.tested", "came through an identity provider as a test", Kind.OTHER)
PROVIDER_METADATA_FAILED = Action(
    "sso.provider.metadata_failed",
    "could not fetch an identity provider's metadata, several times in a row; what was fetched before goes on to count",
    Kind.OTHER,
    severity=Severity.HIGH,
    is_failure=True,
)
PROVIDER_ENDS_SOON = Action(
    "sso.provider.ends_soon",
    "told admins that an identity provider's certificate or metadata ends",
    Kind.OTHER,
    has={"ends_at": MOMENT, "days": WHOLE},
    severity=Severity.MEDIUM,
)
PROVIDER_KEY_PREPARED = Action(
    "sso.provider.key_prepared",
    "made the next key for an identity provider, beside the one that is in use",
    Kind.UPDATE,
    changes=_KEYS,
    severity=Severity.MEDIUM,
)
PROVIDER_KEY_SWITCHED = Action(
    "sso.provider.key_switched",
    "took the other of our two keys for an identity provider into use",
    Kind.UPDATE,
    changes=_KEYS,
    severity=Severity.HIGH,
)
PROVIDER_KEY_DROPPED = Action(
    "sso.provider.key_dropped",
    "dropped the key for an identity provider that was not in use",
    Kind.UPDATE,
    changes=_KEYS,
    severity=Severity.MEDIUM,
)
PROVIDER_REMOVED = Action(
    "sso.provider.removed", "removed an identity provider", Kind.DELETE, changes=_STATE, severity=Severity.HIGH
)
IDENTITY_LINKED = Action(
    "sso.identity.linked",
    "was recognised by an identity provider for the first time",
    Kind.ACCOUNT_CHANGED,
    has={"is_new_account": FLAG},
    severity=Severity.MEDIUM,
)
SIGN_IN_REFUSED = Action(
    "sso.sign_in.refused",
    "came with an answer of an identity provider that was refused",
    Kind.SIGN_IN,
    has={"code": TEXT},
    severity=Severity.MEDIUM,
    is_failure=True,
)
LOGOUT_REFUSED = Action(
    "sso.logout.refused",
    "came with a logout of an identity provider that was refused",
    Kind.SIGN_OUT,
    has={"code": TEXT},
    severity=Severity.MEDIUM,
    is_failure=True,
)
SESSIONS_ENDED = Action(
    "sso.sessions.ended",
    "signed out at an identity provider, which ended the sessions that it had opened here",
    Kind.SIGN_OUT,
    has={"sessions": WHOLE},
)
SSO_REQUIREMENT_CHANGED = Action(
    "sso.requirement.changed",
    "required single sign-on of everybody, or no longer",
    Kind.UPDATE,
    changes={"is_sso_required": FLAG},
    severity=Severity.HIGH,
)
SSO_PASSED_BY = Action(
    "sso.requirement.passed_by",
    "came in as an owner without the single sign-on that is required",
    Kind.SIGN_IN,
    severity=Severity.CRITICAL,
)
SETUP_LINK_MADE = Action(
    "sso.setup_link.made",
    "made a link by which somebody without an account can set up single sign-on",
    Kind.CREATE,
    has={"expires_at": MOMENT, "is_mailed": FLAG},
    severity=Severity.HIGH,
)
SETUP_LINK_OPENED = Action(
    "sso.setup_link.opened", "took a setup link, for one browser", Kind.SIGN_IN, severity=Severity.HIGH
)
SETUP_LINK_REFUSED = Action(
    "sso.setup_link.refused",
    "came with a setup link that another browser has taken",
    Kind.SIGN_IN,
    has={"code": TEXT},
    severity=Severity.HIGH,
    is_failure=True,
)
SETUP_LINK_REVOKED = Action("sso.setup_link.revoked", "ended a setup link", Kind.DELETE, severity=Severity.MEDIUM)
