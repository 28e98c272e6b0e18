"""Holds the domains that an organization has proved to be its own, its identity providers, and who came by them."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from tenancy.models import User
from tenancy.roles import Role
from tenancy.scope import OwnedModel


class VerifiedDomain(OwnedModel):
    """A domain that an organization says is its own, and what DNS says about that.

    Several may wait for the same domain; `verified` and `lost` hold it, which only one organization can.
    """

    class State(models.TextChoices):
        """How far the proof is."""

        PENDING = "pending", "Waiting for the record"
        VERIFIED = "verified", "Verified"
        LOST = "lost", "Record lost"

    domain = models.CharField(max_length=253)  # as DNS has it: ASCII, small letters
    token = models.CharField(max_length=64)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField(default=timezone.now)
    verified_at = models.DateTimeField(null=True)
    missing_since = models.DateTimeField(null=True)  # the first look of those in a row that did not find the record
    lost_at = models.DateTimeField(null=True)
    last_checked_at = models.DateTimeField(null=True)
    last_code = models.CharField(max_length=16, blank=True)
    last_result = models.CharField(max_length=600, blank=True)
    last_seen = models.JSONField(default=list)  # the TXT records that stand where the right one should
    turn = models.UUIDField(null=True)  # of the look that counts: an older one changes nothing any more
    turn_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)  # the next look; none where we have stopped looking

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], name="sso_domain_due", condition=Q(due_at__isnull=False))
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organization", "domain"], name="sso_domain_of_organization"),
            models.UniqueConstraint(
                fields=["domain"], name="sso_domain_held_once", condition=Q(state__in=["verified", "lost"])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.domain} {self.state}"

    @property
    def is_held(self) -> bool:
        """Whether it is this organization's: also while its record is missing, so that nobody is locked out."""
        return self.state != self.State.PENDING


class IdentityProvider(OwnedModel):
    """Who says for an organization that people are who they are: by SAML 2.0, or by OpenID Connect.

    `version` moves on with whatever sign-in depends on.
    """

    class Protocol(models.TextChoices):
        """What it speaks."""

        SAML = "saml", "SAML 2.0"
        OIDC = "oidc", "OpenID Connect"

    class TokenAuth(models.TextChoices):
        """How we show at an OpenID provider's token endpoint who we are (OpenID Connect Core, section 9)."""

        BASIC = "client_secret_basic", "In the Authorization header"
        POST = "client_secret_post", "In the request's body"
        NONE = "none", "Without a secret"

    class Spare(models.TextChoices):
        """What the second of our keys is, where there are two."""

        NEXT = "next", "Takes the other's place soon"
        OLD = "old", "Was in use before"

    class State(models.TextChoices):
        """Whether people sign in by it."""

        DRAFT = "draft", "Not in use yet"
        ACTIVE = "active", "In use"
        OFF = "off", "Switched off"

    name = models.CharField(max_length=120)
    protocol = models.CharField(
        max_length=4, choices=Protocol.choices, default=Protocol.SAML, db_default=Protocol.SAML.value
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.DRAFT)
    metadata = models.TextField()
    entity_id = models.CharField(max_length=1024)
    certificate_expires_at = models.DateTimeField(null=True)  # the last of those in the metadata; SAML alone
    next_certificate_expires_at = models.DateTimeField(null=True)  # the next of them to end
    metadata_url = models.CharField(max_length=2048, blank=True, default="", db_default="")  # none: it was pasted
    metadata_certificate = models.TextField(blank=True, default="", db_default="")  # PEM: whoever must have signed it
    metadata_fetched_at = models.DateTimeField(null=True)
    metadata_valid_until = models.DateTimeField(null=True)  # as the metadata itself says
    metadata_due_at = models.DateTimeField(null=True)  # the next fetch
    metadata_failures = models.PositiveSmallIntegerField(default=0, db_default=0)  # fetches in a row that failed
    metadata_failure = models.CharField(max_length=500, blank=True, default="", db_default="")  # why the last one did
    email_attribute = models.CharField(max_length=255, blank=True)  # none: where identity providers usually have it
    name_attribute = models.CharField(max_length=255, blank=True)
    groups_attribute = models.CharField(max_length=255, blank=True, default="", db_default="")
    default_role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    is_mfa_trusted = models.BooleanField(
        default=False, db_default=False
    )  # it asks for a second factor, so that we need not
    is_unsolicited_allowed = models.BooleanField(default=False)  # sign-in may begin at the identity provider
    key = models.BinaryField()  # RSA, sealed
    certificate = models.TextField()  # of that key, as PEM
    spare = models.CharField(max_length=4, choices=Spare.choices, blank=True, default="", db_default="")
    spare_key = models.BinaryField(null=True)  # beside the other while they change places; sealed
    spare_certificate = models.TextField(blank=True, default="", db_default="")
    spare_since = models.DateTimeField(null=True)
    # what follows, of OpenID providers alone
    issuer = models.CharField(max_length=512, blank=True, default="", db_default="")
    client_id = models.CharField(max_length=255, blank=True, default="", db_default="")
    client_secret = models.BinaryField(null=True)  # sealed; none of a public client
    token_auth_method = models.CharField(
        max_length=20, choices=TokenAuth.choices, blank=True, default="", db_default=""
    )
    more_scopes = models.CharField(
        max_length=255, blank=True, default="", db_default=""
    )  # beside those we always ask for
    discovered = models.JSONField(null=True)  # what it says of itself (OpenID Connect Discovery)
    discovered_at = models.DateTimeField(null=True)
    signing_keys = models.JSONField(null=True)  # its JWK Set
    signing_keys_at = models.DateTimeField(null=True)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)
    tested_at = models.DateTimeField(null=True)  # when somebody last came through with this version

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["metadata_due_at"], name="sso_metadata_due", condition=Q(metadata_due_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.state}"


class CertificateNotice(OwnedModel):
    """A mail about a certificate that ends: each is written once."""

    provider = models.ForeignKey(IdentityProvider, on_delete=models.CASCADE, related_name="+")
    ends_at = models.DateTimeField()
    days = models.PositiveSmallIntegerField()  # before the end

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["provider", "ends_at", "days"], name="sso_certificate_notice_once")
        ]

    def __str__(self) -> str:
        return f"{self.ends_at} {self.days}"


class ExternalIdentity(OwnedModel):
    """Who somebody is to an identity provider: the subject that it names is this user."""

    provider = models.ForeignKey(IdentityProvider, on_delete=models.CASCADE, related_name="+")
    subject = models.CharField(max_length=1024)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["provider", "subject"], name="sso_subject_once")
        ]

    def __str__(self) -> str:
        return self.subject


class SignIn(OwnedModel):
    """An answer of an identity provider, and what came of it: the trace that admins read, and each assertion once."""

    class State(models.TextChoices):
        """How far it came."""

        ANSWERED = "answered", "Waits for the browser"
        DONE = "done", "Signed in"
        TESTED = "tested", "Tested"
        REFUSED = "refused", "Refused"
        ENDED = "ended", "Signed out"

    provider = models.ForeignKey(IdentityProvider, on_delete=models.CASCADE, related_name="+")
    provider_version = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=State.choices)
    code = models.CharField(max_length=32, blank=True)  # of `providers.reasons`
    detail = models.CharField(max_length=500, blank=True)
    in_response_to = models.CharField(max_length=255, blank=True)
    assertion_id = models.CharField(max_length=255, null=True)  # noqa: DJ001  # none where nothing could be believed
    subject = models.CharField(max_length=1024, blank=True)
    attributes = models.JSONField(default=dict)
    email = models.CharField(max_length=254, blank=True)
    name_id = models.JSONField(null=True)  # the attributes of SAML's NameID beside its text
    session_index = models.CharField(
        max_length=255, blank=True, default="", db_default=""
    )  # the provider's name for its session
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()  # the assertion's; nothing is done with it from then on
    session_ends_at = models.DateTimeField(null=True)  # how long the provider lets a session last, if it says so

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["provider", "-id"], name="sso_sign_in_of"),
            models.Index(fields=["created_at"], name="sso_sign_in_old"),
            models.Index(
                fields=["provider", "session_index"], name="sso_sign_in_session", condition=~Q(session_index="")
            ),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["provider", "assertion_id"], name="sso_assertion_once")
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.code}"
