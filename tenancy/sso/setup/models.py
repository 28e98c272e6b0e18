"""Holds links by which somebody without an account sets single sign-on up, and providers that are being set up."""

from typing import ClassVar

from django.db import models
from django.utils import timezone

from tenancy.models import User
from tenancy.scope import OwnedModel
from tenancy.sso.models import IdentityProvider


class Vendor(models.TextChoices):
    """Whose identity provider it is: the guide speaks the words of its admin console."""

    OKTA = "okta", "Okta"
    ENTRA = "entra", "Microsoft Entra ID"
    GOOGLE = "google", "Google Workspace"
    ONELOGIN = "onelogin", "OneLogin"
    JUMPCLOUD = "jumpcloud", "JumpCloud"
    OTHER = "other", "Another identity provider"


Protocol = IdentityProvider.Protocol


class SetupLink(OwnedModel):
    """A link that lets one browser, without an account, set single sign-on up for three days.

    Its secret and the browser's are kept as keyed hashes alone. It ends when whoever made it may not do the same.
    """

    name = models.CharField(max_length=120)  # for whom it is
    email = models.EmailField(blank=True)  # where it was sent, if anywhere
    digest = models.BinaryField(max_length=32, unique=True)
    made_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    browser_digest = models.BinaryField(max_length=32, null=True)
    opened_at = models.DateTimeField(null=True)  # when a browser took it; no other can from then on
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name

    @property
    def is_open(self) -> bool:
        """Whether it still opens anything."""
        return self.revoked_at is None and self.expires_at > timezone.now()


class ProviderSetup(OwnedModel):
    """An identity provider that is being set up: its id is the one that the provider gets.

    Identity providers ask for our addresses before they tell theirs, and our addresses hold the id.
    """

    vendor = models.CharField(max_length=16, choices=Vendor.choices)
    protocol = models.CharField(max_length=8, choices=Protocol.choices)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta(OwnedModel.Meta):
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["organization", "created_at"], name="sso_setup_of")
        ]

    def __str__(self) -> str:
        return f"{self.vendor} {self.protocol}"
