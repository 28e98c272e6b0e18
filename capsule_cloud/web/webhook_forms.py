"""What people choose about webhooks, parsed; the rules themselves are the services'."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.utils import timezone

from tenancy.models import Project
from tenancy.webhooks import catalogue
from tenancy.webhooks.models import Endpoint

OVERLAPS = (
    ("0", "None: the old secret ends now"),
    ("3600", "1 hour"),
    ("86400", "24 hours"),
    ("604800", "7 days"),
)
ROOMS = {"billing.*": "Billing: caps, payments, invoices, credits", "memory.*": "Memory: sessions and capsules"}
ROOMS |= {"organization.*": "Organization: members, keys, projects"}


class EndpointForm(forms.Form):
    """An endpoint, new or changed."""

    url = forms.CharField(
        max_length=2048,
        label="Address",
        help_text="Begins with https://. Redirects are not followed.",
        widget=forms.URLInput(
            attrs={"autofocus": True, "placeholder": "https://hooks.example.com/capsule", "autocomplete": "off"}
        ),
    )
    description = forms.CharField(
        max_length=200, required=False, label="Description", widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    rooms = forms.MultipleChoiceField(
        choices=tuple(ROOMS.items()),
        required=False,
        label="It is told about",
        help_text="Nothing chosen here or below: everything.",
        widget=forms.CheckboxSelectMultiple,
    )
    types = forms.MultipleChoiceField(
        choices=[(one, one) for one in catalogue.choices() if not one.endswith(".*")],
        required=False,
        label="Single events",
        widget=forms.CheckboxSelectMultiple,
    )
    projects = forms.MultipleChoiceField(
        required=False,
        label="Of these projects",
        help_text="None: all. What concerns no project, like invoices, is always told.",
        widget=forms.CheckboxSelectMultiple,
    )
    is_ordered = forms.BooleanField(
        required=False,
        label="In order",
        help_text="One after the other: an event waits until the one before it has arrived or was given up.",
    )

    def __init__(self, projects: list[Project], data: object = None, endpoint: Endpoint | None = None) -> None:
        super().__init__(data, initial=_initial(endpoint))  # type: ignore[arg-type]  # a QueryDict or None
        self.fields["projects"].choices = [(str(one.pk), one.name) for one in projects]  # type: ignore[attr-defined]

    def asked(self) -> dict[str, Any]:
        """The arguments of the service."""
        chosen = self.cleaned_data
        return {
            "url": chosen["url"],
            "description": chosen["description"],
            "event_types": [*chosen["rooms"], *chosen["types"]],
            "project_ids": [UUID(one) for one in chosen["projects"]],
            "is_ordered": chosen["is_ordered"],
        }


def _initial(endpoint: Endpoint | None) -> dict[str, Any]:
    if endpoint is None:
        return {}
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "rooms": endpoint.event_types,
        "types": endpoint.event_types,
        "projects": list(map(str, endpoint.project_ids)),
        "is_ordered": endpoint.is_ordered,
    }


class SecretRotateForm(forms.Form):
    """How long both secrets sign."""

    overlap = forms.TypedChoiceField(
        choices=OVERLAPS,
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        initial="86400",
        label="Both secrets sign for",
        help_text="Time to deploy the new secret before the old one ends.",
    )


class ReplayForm(forms.Form):
    """From when on everything is sent again."""

    since = forms.DateTimeField(
        label="From",
        help_text="UTC, within the last 30 days.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
    )

    def __init__(self, data: object = None) -> None:
        day_ago = timezone.now() - timedelta(days=1)
        super().__init__(data, initial={"since": day_ago})  # type: ignore[arg-type]  # a QueryDict or None

    def clean_since(self) -> datetime:
        """As a moment in UTC."""
        since: datetime = self.cleaned_data["since"]
        return since.astimezone(UTC)
