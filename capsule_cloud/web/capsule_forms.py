"""What people type about capsules and end users, parsed; the rules themselves are the services'."""

from django import forms

from capsule_cloud.memory.services.transfer import ExportFormat

LONGEST_TITLE = 500  # characters, which are never more than the service's 2,000 bytes


class TagsForm(forms.Form):
    """A capsule's tags, separated by commas."""

    tags = forms.CharField(
        required=False,
        label="Tags",
        widget=forms.TextInput(attrs={"placeholder": "billing, vip", "autocomplete": "off"}),
    )

    def clean_tags(self) -> list[str]:
        """The tags, without blanks."""
        return [tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip()]


class PinForm(forms.Form):
    """Whether a capsule is pinned."""

    is_pinned = forms.BooleanField(required=False, widget=forms.HiddenInput)  # "0" is no


class ExpiryForm(forms.Form):
    """When a capsule ends; empty means never."""

    expires_at = forms.DateTimeField(
        required=False,
        label="Expires (UTC)",
        help_text="From then on nobody sees it. Empty means never.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )


class MergeForm(TagsForm):
    """What the capsule that others are merged into is called."""

    title = forms.CharField(max_length=LONGEST_TITLE, label="Title")
    field_order = ("title", "tags")


class ForkForm(TagsForm):
    """Who gets a copy of a capsule."""

    new_user_id = forms.CharField(
        max_length=255,
        label="End user",
        help_text="Who gets the copy. The original stays as it is.",
        widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "off", "spellcheck": "false"}),
    )
    field_order = ("new_user_id", "tags")


class ExportForm(forms.Form):
    """How a capsule leaves."""

    file_format = forms.ChoiceField(
        choices=[
            (ExportFormat.JSON, "JSON, complete"),
            (ExportFormat.MSGPACK, "Capsule file (MessagePack)"),
            (ExportFormat.UNIVERSAL, "Universal memory (JSON)"),
            (ExportFormat.PROMPT, "Prompt text"),
        ],
        label="Format",
    )
    passphrase = forms.CharField(
        required=False,
        label="Passphrase",
        help_text="Encrypts the file (JSON and capsule file only).",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class ImportForm(forms.Form):
    """A capsule file for an end user."""

    file = forms.FileField(label="File", help_text="An export: .json, .capsule or .txt, 10 MiB at most.")
    user_id = forms.CharField(max_length=255, label="End user", help_text="Whose memory it becomes.")
    passphrase = forms.CharField(
        required=False,
        label="Passphrase",
        help_text="If the file is encrypted.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )


class ForgetForm(forms.Form):
    """Forgetting an end user asks for their id, letter by letter."""

    confirmation = forms.CharField(
        label="Type the id of the end user to confirm",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "mono"}),
    )

    def __init__(self, user_id: str, data: object = None) -> None:
        super().__init__(data)  # type: ignore[arg-type]  # a QueryDict or None
        self.user_id = user_id

    def clean_confirmation(self) -> str:
        """The id itself, or an error."""
        if self.cleaned_data["confirmation"] != self.user_id.strip():
            raise forms.ValidationError("That is another id.")
        return self.user_id
