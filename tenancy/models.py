"""Holds users, organizations and what they own: projects, memberships, invitations and API keys."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

import uuid_utils.compat as uuid_utils
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from tenancy.roles import KeyScope, Role
from tenancy.scope import Owned, OwnedModel, current_organization_id


class UserManager(BaseUserManager["User"]):
    """Makes users from an e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A user with a hashed password (unusable when None)."""
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save()
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """A member of staff with every permission, for `manage.py createsuperuser`."""
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True} | fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person; the e-mail address is the name they sign in with."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.uuid7, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120, blank=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_without_case")]

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        """The name shown to others."""
        return self.name or self.email


class OrganizationManager(models.Manager["Organization"]):
    """Closed by default, as everything that an organization owns: shows the one in scope, raises NoScope outside."""

    def get_queryset(self) -> "models.QuerySet[Organization]":
        """The organization in scope."""
        return super().get_queryset().filter(pk=current_organization_id())


class Organization(models.Model):
    """A customer: the tenant. Its limits are columns that billing writes; their defaults are the free plan.

    A limit that is null is none. Without a period, the calendar month in UTC is one.
    """

    class Region(models.TextChoices):
        """Where the data lives."""

        EU = "eu", "European Union"
        US = "us", "United States"

    class Access(models.TextChoices):
        """What an unpaid bill leaves of the data plane."""

        FULL = "full", "Everything"
        READ_ONLY = "read_only", "Reads alone"
        SUSPENDED = "suspended", "Exports alone"

    id = models.UUIDField(primary_key=True, default=uuid_utils.uuid7, editable=False)
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    region = models.CharField(max_length=8, choices=Region.choices, default=Region.EU)
    is_mfa_required = models.BooleanField(default=False)
    is_sso_required = models.BooleanField(db_default=False)
    session_hours = models.PositiveIntegerField(null=True)  # after which people sign in again; none: as usual
    signing_key = models.BinaryField()  # Ed25519, sealed: signs this organization's exports
    project_limit = models.PositiveIntegerField(default=5)
    member_limit = models.PositiveIntegerField(default=10)
    key_limit = models.PositiveIntegerField(default=50)
    requests_per_minute = models.PositiveIntegerField(default=3000)
    # defaults of the database's own, so that rows of the version before a deploy get them too
    operation_limit = models.BigIntegerField(null=True, db_default=25_000)
    stored_byte_limit = models.BigIntegerField(null=True, db_default=10**9)
    document_limit = models.BigIntegerField(null=True, db_default=500)
    end_user_limit = models.BigIntegerField(null=True, db_default=1_000)
    audit_retention_months = models.PositiveIntegerField(db_default=3)
    features = ArrayField(models.CharField(max_length=40), db_default=["mcp"])
    access = models.CharField(max_length=16, choices=Access.choices, db_default=Access.FULL)
    caps_version = models.BigIntegerField(db_default=0)  # changes with the caps that the customer chose
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    clock_ahead = models.DurationField(db_default=timedelta(0))  # how far the simulator's time machine moved its clock
    created_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True)
    objects = OrganizationManager()

    class Meta:
        base_manager_name = "objects"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["clock_ahead"], name="organization_ahead", condition=models.Q(clock_ahead__gt=timedelta(0))
            )
        ]

    def __str__(self) -> str:
        return self.slug

    def at(self, moment: datetime) -> datetime:
        """What time it is for the organization at the real `moment`."""
        return moment + self.clock_ahead


class Project(OwnedModel):
    """A separate memory within an organization: every key, session and capsule belongs to one."""

    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=60)
    cors_origins = ArrayField(models.CharField(max_length=255), default=list, blank=True)
    turn_retention_days = models.PositiveIntegerField(default=90)
    idle_seal_minutes = models.PositiveIntegerField(default=30)
    audit_reads = models.BooleanField(db_default=False)  # every read of its memories is recorded in the trail
    created_at = models.DateTimeField(default=timezone.now)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta(OwnedModel.Meta):
        constraints = [models.UniqueConstraint(fields=["organization", "slug"], name="project_slug_once")]

    def __str__(self) -> str:
        return self.slug


class Membership(OwnedModel):
    """A person's place in an organization."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=16, choices=Role.choices)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints = [models.UniqueConstraint(fields=["organization", "user"], name="member_once")]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role}"


class ProjectRole(OwnedModel):
    """What a member may do in one project beside what their role in the organization lets them do."""

    membership = models.ForeignKey(Membership, on_delete=models.CASCADE, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=16, choices=Role.choices)  # one of PROJECT_ROLES
    is_managed = models.BooleanField(default=False)  # by groups of a directory, and not by hand
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        constraints = [models.UniqueConstraint(fields=["membership", "project"], name="project_role_once")]

    def __str__(self) -> str:
        return f"{self.membership_id} {self.role}"


class Invitation(OwnedModel):
    """An offer of membership by e-mail: signed, expiring, single use.

    `generation` counts how often it was sent; only the last link is valid.
    """

    email = models.EmailField()
    role = models.CharField(max_length=16, choices=Role.choices)
    invited_by = models.CharField(max_length=254)
    generation = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta(OwnedModel.Meta):
        constraints = [
            models.UniqueConstraint(
                "organization",
                Lower("email"),
                condition=models.Q(accepted_at=None, revoked_at=None),
                name="invitation_open_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.email} {self.role}"


class ApiKey(OwnedModel):
    """A credential of one project: shown once, stored as a keyed hash."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    successor = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    name = models.CharField(max_length=120)
    hint = models.CharField(max_length=16)  # the first characters, to recognise it by
    digest = models.BinaryField(max_length=32, unique=True)
    scopes = ArrayField(models.CharField(max_length=32, choices=KeyScope.choices))
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    allowed_cidrs = ArrayField(models.CharField(max_length=43), default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta(OwnedModel.Meta):
        indexes = [models.Index(fields=["organization", "project"], name="key_by_project")]

    def __str__(self) -> str:
        return f"{self.hint}… {self.name}"


class OrganizationPurge(models.Model):
    """The proof that a closed organization's data is gone: exact counts by table. It outlives the organization."""

    id = models.UUIDField(primary_key=True, default=uuid_utils.uuid7, editable=False)
    organization_id = models.UUIDField()
    slug = models.SlugField(max_length=60)
    closed_at = models.DateTimeField()
    purged_at = models.DateTimeField(default=timezone.now)
    counts = models.JSONField()

    def __str__(self) -> str:
        return f"{self.slug} {self.purged_at:%Y-%m-%d}"


__all__ = [
    "ApiKey",
    "Invitation",
    "Membership",
    "Organization",
    "OrganizationPurge",
    "Owned",
    "Project",
    "ProjectRole",
    "User",
]
