"""Forms of directories: a new one, its settings, one more token, and another in its place."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.utils import timezone

from capsule_cloud.web.forms import OVERLAPS
from tenancy.models import Membership
from tenancy.roles import Role, may_grant
from tenancy.scim.models import Directory

LIFETIMES = (("0", "No end"), ("90", "90 days"), ("180", "180 days"), ("365", "1 year"))


class DirectoryForm(forms.Form):
    """A new directory."""

    kind = forms.ChoiceField(
        choices=Directory.Kind.choices, label="Which directory", help_text="We show the steps in its words."
    )
    name = forms.CharField(
        max_length=120,
        label="Name",
        help_text="For yourselves, such as Okta or Staff.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    default_role = forms.ChoiceField(
        label="Role of newcomers", help_text="Groups of the directory can give other roles, where you map them."
    )

    def __init__(self, giver: Role, data: object = None, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)  # type: ignore[arg-type]  # a QueryDict or None
        kept = (initial or {}).get("default_role")
        roles = [role for role in Role if may_grant(giver, role) or role == kept]
        self.fields["default_role"].choices = [(one.value, one.label) for one in roles]  # type: ignore[attr-defined]
        if not kept:
            self.fields["default_role"].initial = Role.VIEWER


class DirectorySettingsForm(DirectoryForm):
    """What else can be chosen of a directory."""

    keys_go_to = forms.TypedChoiceField(
        coerce=UUID,
        required=False,
        empty_value=None,
        label="API keys of who leaves",
        help_text="They end, or this member becomes their maker, for those that the member could have made. "
        "Whoever left may have copied them: rotate them then.",
    )

    def __init__(self, giver: Role, data: object = None, initial: dict[str, Any] | None = None) -> None:
        super().__init__(giver, data, initial)
        members = Membership.objects.select_related("user").order_by("user__email")[:1_000]
        self.fields["keys_go_to"].choices = [  # type: ignore[attr-defined]
            ("", "End"),
            *((str(one.user_id), f"Go to {one.user.email}") for one in members),
        ]


class TokenForm(forms.Form):
    """One more token."""

    lifetime = forms.TypedChoiceField(
        choices=LIFETIMES,
        coerce=int,
        label="Ends after",
        help_text="A directory whose token has ended provisions nobody: put a new one there in time.",
    )

    def expires_at(self) -> datetime | None:
        """When the token ends."""
        days: int = self.cleaned_data["lifetime"]
        return timezone.now() + timedelta(days=days) if days else None


class TokenRotateForm(forms.Form):
    """How long the old token goes on beside the new one."""

    overlap = forms.TypedChoiceField(
        choices=[("0", "None: the old token ends now"), *OVERLAPS[1:]],
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        initial="86400",
        label="Both tokens work for",
        help_text="Time to put the new one into the directory.",
    )
