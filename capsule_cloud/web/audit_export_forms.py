"""What people choose about exports of the audit log, parsed; the rules themselves are the services'."""

from typing import Any
from uuid import UUID

from django import forms

from capsule_cloud.lib import storage
from tenancy.audit.exports.models import Compression, Format, Schedule, Target
from tenancy.audit.exports.services import Wish

OF_STORES: dict[str, tuple[str, str, bool]] = {  # label, help, whether it may be left out
    "bucket": ("Bucket", "", False),
    "region": ("Region", "For example eu-central-1.", False),
    "endpoint": ("Endpoint", "Only for stores that are not Amazon's, for example https://s3.example.com.", True),
    "prefix": ("Folder", "For example logs/capsule.", True),
    "account": ("Storage account", "", False),
    "container": ("Container", "", False),
    "url": ("Address", "Files are put under it by their names.", False),
    "access_key_id": ("Access key id", "", False),
    "secret_access_key": ("Secret access key", "", False),
    "service_account": (
        "Service account key",
        "The whole JSON key file. It may write objects there, and read them.",
        False,
    ),
    "account_key": ("Account key", "", False),
    "authorization": ("Authorization header", "Sent with every file, for example Bearer …", True),
}

CHOSEN = {"action", "actor", "target", "since", "until"}  # what the log's page hands on


def _choices(targets: list[Target]) -> list[tuple[str, str]]:
    return [(str(one.pk), f"{one.name} ({storage.KINDS[one.kind].label})") for one in targets]


class WishForm(forms.Form):
    """What of the log, and as what."""

    format = forms.ChoiceField(
        choices=Format.choices,
        label="Format",
        help_text="JSON Lines holds each event as it is proved. CSV and Parquet have columns beside it.",
    )
    compression = forms.ChoiceField(
        choices=Compression.choices, label="Compression", help_text="Parquet compresses inside, whatever you choose."
    )
    action = forms.CharField(
        max_length=64, required=False, label="Action", help_text="From the start: organization.member."
    )
    actor = forms.CharField(max_length=255, required=False, label="Who", help_text="An id, or a part of a name.")
    target = forms.CharField(
        max_length=255, required=False, label="What it was done to", help_text="An id, or a part of a name."
    )
    has_people = forms.BooleanField(
        required=False,
        initial=True,
        label="With names",
        help_text="Events hold pseudonyms; a file beside them says whom they stand for.",
    )

    def wish(self) -> Wish:
        """The service's own."""
        chosen = self.cleaned_data
        return Wish(
            form=chosen["format"],
            compression=chosen["compression"],
            action=chosen["action"],
            actor=chosen["actor"],
            target=chosen["target"],
            has_people=chosen["has_people"],
        )


class ExportForm(WishForm):
    """One export."""

    since = forms.DateTimeField(
        required=False,
        label="From",
        help_text="UTC. Empty: from the beginning.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )
    until = forms.DateTimeField(
        required=False,
        label="To",
        help_text="UTC. Empty: until now.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )
    store = forms.ChoiceField(required=False, label="Store", help_text="It is put there, and can be downloaded too.")

    def __init__(self, targets: list[Target], data: object = None, initial: dict[str, Any] | None = None) -> None:
        given = {name: text for name, text in (initial or {}).items() if name in CHOSEN}
        super().__init__(data, initial=given)  # type: ignore[arg-type]  # a QueryDict or None
        self.fields["store"].choices = [("", "None: I download it"), *_choices(targets)]  # type: ignore[attr-defined]

    def asked(self) -> dict[str, Any]:
        """The arguments of the service."""
        chosen = self.cleaned_data
        return {
            "wish": self.wish(),
            "since": chosen["since"],
            "until": chosen["until"],
            "target_id": UUID(chosen["store"]) if chosen["store"] else None,
        }


class ScheduleForm(WishForm):
    """Exports that come regularly."""

    name = forms.CharField(max_length=64, label="Name", widget=forms.TextInput(attrs={"autocomplete": "off"}))
    every = forms.ChoiceField(
        choices=Schedule.Every.choices, label="How often", help_text="By UTC; weeks begin on Monday."
    )
    store = forms.ChoiceField(label="Store")
    from_beginning = forms.BooleanField(
        required=False, label="From the beginning", help_text="The first file also holds everything that is older."
    )

    def __init__(self, targets: list[Target], data: object = None) -> None:
        super().__init__(data)  # type: ignore[arg-type]  # a QueryDict or None
        self.fields["store"].choices = _choices(targets)  # type: ignore[attr-defined]

    def asked(self) -> dict[str, Any]:
        """The arguments of the service."""
        chosen = self.cleaned_data
        return {
            "wish": self.wish(),
            "name": chosen["name"],
            "every": chosen["every"],
            "target_id": UUID(chosen["store"]),
            "from_beginning": chosen["from_beginning"],
        }


class TargetForm(forms.Form):
    """A store of one kind, new or changed; a secret that is there is never shown, and stays where none is typed."""

    name = forms.CharField(max_length=64, label="Name", widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, kind: str, data: object = None, target: Target | None = None) -> None:
        initial = {"name": target.name, **target.options} if target else {}
        super().__init__(data, initial=initial)  # type: ignore[arg-type]  # a QueryDict or None
        self.kind = storage.KINDS[kind]
        for name in (*self.kind.options, *self.kind.secrets):
            label, text, is_optional = OF_STORES[name]
            is_secret = name in self.kind.secrets
            if is_secret and target is not None:
                text = f"{text} Empty: it stays as it is."
            self.fields[name] = forms.CharField(
                max_length=5000,
                label=label,
                help_text=text.strip(),
                required=not is_optional and not (is_secret and target is not None),
                widget=_widget(name, is_secret=is_secret),
            )

    def asked(self) -> dict[str, Any]:
        """The arguments of the service, without the kind."""
        chosen = self.cleaned_data
        return {
            "name": chosen["name"],
            "options": {one: chosen[one] for one in self.kind.options if chosen[one]},
            "secrets": {one: chosen[one] for one in self.kind.secrets if chosen[one]},
        }


def _widget(name: str, *, is_secret: bool) -> forms.Widget:
    plain = {"autocomplete": "off", "spellcheck": "false"}
    if name == "service_account":
        return forms.Textarea(attrs={**plain, "rows": 6})
    if is_secret and name != "access_key_id":
        return forms.PasswordInput(attrs={**plain, "autocomplete": "new-password"})
    return forms.TextInput(attrs=plain)
