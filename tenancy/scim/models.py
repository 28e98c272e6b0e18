"""Holds directories of organizations: their tokens, the users and groups that they keep here, and what they sent."""

from typing import Any, ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.utils import timezone

from tenancy.models import User
from tenancy.roles import Role
from tenancy.scim.names import name_key
from tenancy.scope import OwnedModel


class Directory(OwnedModel):
    """A client that provisions people by SCIM: an identity provider's application."""

    class Kind(models.TextChoices):
        """Whose dialect it speaks, and which steps its admin is shown."""

        OKTA = "okta", "Okta"
        ENTRA = "entra", "Microsoft Entra ID"
        GOOGLE = "google", "Google Workspace"
        ONELOGIN = "onelogin", "OneLogin"
        JUMPCLOUD = "jumpcloud", "JumpCloud"
        GENERIC = "generic", "Another one"

    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.GENERIC)
    default_role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    # who gets the API keys of those who leave; nobody: the keys end
    keys_go_to = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    is_on = models.BooleanField(default=True)
    user_count = models.PositiveIntegerField(default=0)  # a page says how many there are without counting them
    group_count = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    last_request_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"


class DirectoryToken(OwnedModel):
    """A bearer token of a directory: shown once, stored as a keyed hash. Several may be valid at once."""

    directory = models.ForeignKey(Directory, on_delete=models.CASCADE, related_name="+")
    hint = models.CharField(max_length=16)  # the first characters, to recognise it by
    digest = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.hint}…"


class DirectoryUser(OwnedModel):
    """A user as a directory has them, and the account here that they are.

    `data` is the resource as the client gave it; the columns say what of it counts here. `search` is the resource as
    filters compare it, under the directory's id.
    """

    directory = models.ForeignKey(Directory, on_delete=models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    user_name = models.CharField(max_length=320)
    name_key = models.TextField(db_collation="C")  # the name, as it is compared and sorted
    external_id = models.CharField(max_length=255, blank=True)
    is_active = models.BooleanField(default=True)
    email = models.CharField(max_length=254, blank=True)
    last_role = models.CharField(max_length=16, blank=True)  # that they had when they were withdrawn
    data = models.JSONField(default=dict)
    search = models.JSONField(default=dict)
    revision = models.PositiveIntegerField(default=1)  # the ETag
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "directory", "id"], name="scim_user_page"),
            GinIndex(fields=["search"], name="scim_user_search", opclasses=["jsonb_path_ops"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["directory", "name_key"], name="scim_user_key_once"),
            models.UniqueConstraint(
                fields=["directory", "external_id"], name="scim_user_external_once", condition=~Q(external_id="")
            ),
            models.UniqueConstraint(
                fields=["directory", "user"], name="scim_person_once", condition=Q(user__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.user_name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As every owned row, with the key that belongs to the name."""
        self.name_key = name_key(self.user_name)
        super().save(*args, **kwargs)


class DirectoryGroup(OwnedModel):
    """A group as a directory has it."""

    directory = models.ForeignKey(Directory, on_delete=models.CASCADE, related_name="+", db_index=False)
    display_name = models.CharField(max_length=255)
    name_key = models.TextField(db_collation="C")
    external_id = models.CharField(max_length=255, blank=True)
    data = models.JSONField(default=dict)
    search = models.JSONField(default=dict)
    revision = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "directory", "id"], name="scim_group_page"),
            models.Index(fields=["directory", "name_key"], name="scim_group_key"),  # two groups may have one name
            GinIndex(fields=["search"], name="scim_group_search", opclasses=["jsonb_path_ops"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["directory", "external_id"], name="scim_group_external_once", condition=~Q(external_id="")
            ),
        ]

    def __str__(self) -> str:
        return self.display_name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As every owned row, with the key that belongs to the name."""
        self.name_key = name_key(self.display_name)
        super().save(*args, **kwargs)


class DirectoryGroupMember(OwnedModel):
    """A user, or another group, in a group."""

    group = models.ForeignKey(DirectoryGroup, on_delete=models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(DirectoryUser, null=True, on_delete=models.CASCADE, related_name="+")
    subgroup = models.ForeignKey(DirectoryGroup, null=True, on_delete=models.CASCADE, related_name="+")
    display = models.CharField(max_length=320, blank=True)  # as the client calls them; none: as they are called

    class Meta(OwnedModel.Meta):
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                name="scim_member_is_one",
                condition=Q(user__isnull=False, subgroup__isnull=True) | Q(user__isnull=True, subgroup__isnull=False),
            ),
            models.UniqueConstraint(fields=["group", "user"], name="scim_member_user_once"),
            models.UniqueConstraint(fields=["group", "subgroup"], name="scim_member_group_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id or self.subgroup_id} in {self.group_id}"


class Exchange(OwnedModel):
    """A request of a directory and our answer, without secrets: the log that admins read."""

    class Kind(models.TextChoices):
        """What came of it; of each kind the newest are kept."""

        READ = "read", "Read"
        WRITE = "write", "Changed"
        FAILURE = "failure", "Refused"

    directory = models.ForeignKey(Directory, on_delete=models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    token_hint = models.CharField(max_length=16, blank=True)
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=500)
    status = models.PositiveSmallIntegerField()
    scim_type = models.CharField(max_length=32, blank=True)
    request = models.JSONField(null=True)
    answer = models.JSONField(null=True)
    resource_type = models.CharField(max_length=32, blank=True)
    resource_id = models.CharField(max_length=64, blank=True)
    took_ms = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["directory", "-id"], name="scim_exchange_of"),
            models.Index(fields=["directory", "kind", "-id"], name="scim_exchange_kind"),
            models.Index(fields=["created_at"], name="scim_exchange_old"),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"
