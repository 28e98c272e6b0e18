"""What people type about themselves and their organizations, parsed; the rules themselves are the services'."""

from datetime import datetime, timedelta

from django import forms
from django.utils import timezone

from tenancy.models import Membership, Organization, Project
from tenancy.roles import DEFAULT_SCOPES, PROJECT_ROLES, KeyScope, Right, Role, may_grant, scopes_within

EXPIRIES = (("", "Never"), ("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("365", "1 year"))
SESSION_LENGTHS = (
    ("0", "14 days, or when they sign out"),
    ("168", "7 days"),
    ("72", "3 days"),
    ("24", "24 hours"),
    ("12", "12 hours"),
    ("8", "8 hours"),
    ("4", "4 hours"),
    ("1", "1 hour"),
)
OVERLAPS = (
    ("0", "None: the old key ends now"),
    ("3600", "1 hour"),
    ("86400", "24 hours"),
    ("604800", "7 days"),
    ("2592000", "30 days"),
)
ROLE_NOTES = {
    Role.OWNER: "Everything, including billing and closing the organization",
    Role.ADMIN: "Members, projects, keys, settings and the audit log",
    Role.MEMBER: "Works with memories and makes API keys",
    Role.VIEWER: "Reads everything but the audit log, changes nothing",
    Role.BILLING: "Usage and invoices, no memories",
}
PROJECT_ROLE_NOTES = {
    Role.ADMIN: "The project's settings, and all that a member may",
    Role.MEMBER: "Works with its memories and makes its API keys",
    Role.VIEWER: "Reads its memories and settings",
}


class Lines(forms.CharField):
    """Several values, one a line."""

    widget = forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "class": "mono"})

    def clean(self, value: object) -> list[str]:
        """The lines without blanks."""
        return [line.strip() for line in (super().clean(value) or "").splitlines() if line.strip()]

    def prepare_value(self, value: object) -> object:
        """A list as lines, for the text area."""
        return "\n".join(value) if isinstance(value, list) else value


class NameForm(forms.Form):
    """A person's own name."""

    name = forms.CharField(
        max_length=120,
        label="Your name",
        help_text="What members of your organizations see.",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )


class OrganizationForm(forms.Form):
    """A new organization."""

    name = forms.CharField(
        max_length=120,
        label="Organization name",
        help_text="Your company or team. You can change it later.",
        widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "organization", "placeholder": "Acme"}),
    )
    region = forms.ChoiceField(
        choices=Organization.Region.choices,
        initial=Organization.Region.EU,
        label="Where the data lives",
        help_text="Fixed once the organization exists.",
        widget=forms.RadioSelect,
    )


class OrganizationSettingsForm(forms.Form):
    """The organization's own settings."""

    name = forms.CharField(max_length=120, label="Name")


class SecurityForm(forms.Form):
    """What the organization demands of its members."""

    is_mfa_required = forms.BooleanField(
        required=False,
        label="Require a second factor",
        help_text="Members without an authenticator app or passkey must set one up before they can open anything here.",
    )
    session_hours = forms.TypedChoiceField(
        choices=SESSION_LENGTHS,
        coerce=int,
        label="People sign in again after",
        required=False,
        empty_value=None,
        help_text="Counted from when they last showed who they are, however busy they are. Whoever is in longer signs "
        "in again at the next page, and comes back to it. API keys are not touched.",
    )


class CloseForm(forms.Form):
    """Closing asks for the organization's slug, letter by letter."""

    confirmation = forms.CharField(
        label="Type the short name of the organization to confirm",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "mono"}),
    )

    def __init__(self, slug: str, data: object = None) -> None:
        super().__init__(data)  # type: ignore[arg-type]  # a QueryDict or None
        self.slug = slug

    def clean_confirmation(self) -> str:
        """The slug itself, or an error."""
        if self.cleaned_data["confirmation"].strip() != self.slug:
            raise forms.ValidationError(f"Type {self.slug} to confirm.")
        return self.slug


class ProjectForm(forms.Form):
    """A new project."""

    name = forms.CharField(
        max_length=120,
        label="Project name",
        help_text="One product or environment: every key, session and capsule belongs to one project.",
        widget=forms.TextInput(attrs={"autofocus": True, "placeholder": "Support assistant"}),
    )


class ProjectSettingsForm(forms.Form):
    """What a project can be set to."""

    name = forms.CharField(max_length=120, label="Name")
    cors_origins = Lines(
        required=False,
        label="Browser origins",
        help_text="Web pages that may call the API directly, one a line, like <code>https://app.example.com</code>.",
    )
    turn_retention_days = forms.IntegerField(
        min_value=1,
        max_value=3650,
        label="Keep raw turns for (days)",
        help_text="Capsules stay; the verbatim conversation is deleted after this.",
    )
    idle_seal_minutes = forms.IntegerField(
        min_value=1,
        max_value=10080,
        label="Seal idle sessions after (minutes)",
        help_text="A session without new turns becomes a capsule by itself.",
    )
    audit_reads = forms.BooleanField(
        required=False,
        label="Record every read of memories",
        help_text="Who recalled, opened, listed or searched what, and when, stands in the audit log. "
        "Questions are kept as keyed hashes alone.",
    )


class KeyForm(forms.Form):
    """A new API key; its scopes stay within what the maker may do in some project, and the service knows in which."""

    name = forms.CharField(
        max_length=120,
        label="Name",
        help_text="Where it is used, so that you recognise it later.",
        widget=forms.TextInput(attrs={"autofocus": True, "placeholder": "Production server", "autocomplete": "off"}),
    )
    project = forms.ChoiceField(label="Project")
    scopes = forms.MultipleChoiceField(label="It may", widget=forms.CheckboxSelectMultiple, initial=DEFAULT_SCOPES)
    expires_in = forms.ChoiceField(choices=EXPIRIES, required=False, label="Expires after")
    requests_per_minute = forms.IntegerField(
        min_value=1, required=False, label="Requests a minute", help_text="A limit of its own, below that of your plan."
    )
    allowed_cidrs = Lines(
        required=False,
        label="Allowed addresses",
        help_text="One range a line, like <code>203.0.113.0/24</code>. Empty means anywhere.",
    )

    def __init__(
        self, projects: list[Project], rights: frozenset[Right], data: object = None, initial: object = None
    ) -> None:
        super().__init__(data, initial=initial)  # type: ignore[arg-type]  # a QueryDict or None
        self.fields["project"].choices = [(str(one.pk), one.name) for one in projects]  # type: ignore[attr-defined]
        self.fields["scopes"].choices = [  # type: ignore[attr-defined]
            (value, label) for value, label in KeyScope.choices if scopes_within(rights, [value])
        ]

    def expires_at(self) -> datetime | None:
        """The moment of expiry, or None for never."""
        days = self.cleaned_data["expires_in"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class RotateForm(forms.Form):
    """How long the old key goes on beside the new one."""

    overlap = forms.TypedChoiceField(
        choices=OVERLAPS,
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        initial="86400",
        label="Both keys work for",
        help_text="Time to deploy the new key before the old one stops.",
    )


class RoleForm(forms.Form):
    """A role that the asking member may give."""

    role = forms.ChoiceField(label="Role", widget=forms.RadioSelect)

    def __init__(self, giver: Role, data: object = None, initial: object = None) -> None:
        super().__init__(data, initial=initial)  # type: ignore[arg-type]  # a QueryDict or None
        self.fields["role"].choices = [  # type: ignore[attr-defined]
            (role.value, f"{role.label}: {ROLE_NOTES[role]}") for role in Role if may_grant(giver, role)
        ]


class ProjectRoleForm(forms.Form):
    """A member, and what they may do in a project."""

    user = forms.ChoiceField(label="Member")
    role = forms.ChoiceField(
        label="Role in this project",
        choices=[(role.value, f"{role.label}: {PROJECT_ROLE_NOTES[role]}") for role in PROJECT_ROLES],
        widget=forms.RadioSelect,
        help_text="It adds to what their role in the organization lets them do.",
    )

    def __init__(self, members: list[Membership], data: object = None) -> None:
        super().__init__(data)  # type: ignore[arg-type]  # a QueryDict or None
        self.fields["user"].choices = [  # type: ignore[attr-defined]
            (str(one.user_id), f"{one.user.get_full_name()} ({one.get_role_display().lower()})") for one in members
        ]


class InvitationForm(RoleForm):
    """An address and the role it is offered."""

    email = forms.EmailField(
        label="E-mail",
        widget=forms.EmailInput(attrs={"autofocus": True, "placeholder": "name@example.com", "autocomplete": "off"}),
    )
    field_order = ("email", "role")
