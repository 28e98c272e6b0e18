"""What people choose about streams of the audit log, parsed; the rules themselves are the services'."""

from typing import Any

from django import forms

from capsule_cloud.web.audit_export_forms import OF_STORES
from tenancy.audit.streams.kinds import KINDS, OPTIONAL
from tenancy.audit.streams.models import Stream

OF_KINDS: dict[tuple[str, str], tuple[str, str]] = {  # label, help
    ("splunk", "url"): ("Collector", "For example https://http-inputs-acme.splunkcloud.com/services/collector/event."),
    ("splunk", "index"): ("Index", "Empty: the token's own."),
    ("splunk", "token"): ("Token", "Of an HTTP Event Collector without acknowledgement."),
    ("datadog", "url"): ("Intake", "Your site's, for example https://http-intake.logs.datadoghq.eu/api/v2/logs."),
    ("datadog", "api_key"): ("API key", ""),
    ("https", "url"): ("Address", "Begins with https://. Redirects are not followed."),
    ("https", "authorization"): ("Authorization header", "Sent beside the signature, for example Bearer …"),
    ("syslog", "host"): ("Host", "For example logs.example.com."),
    ("syslog", "port"): ("Port", "6514 unless yours differs; 443 and 8443 are open, too."),
    ("syslog", "ca_certificate"): ("Authority", "PEM. Empty: those that browsers trust."),
}


class StreamForm(forms.Form):
    """A stream of one kind, new or changed; a secret that is there is never shown, and stays where none is typed."""

    name = forms.CharField(max_length=64, label="Name", widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, kind: str, data: object = None, stream: Stream | None = None) -> None:
        known = {"name": stream.name, "has_ocsf": stream.has_ocsf, "has_people": stream.has_people} if stream else {}
        initial = {"has_people": True, **known, **(stream.options if stream else {})}
        super().__init__(data, initial=initial)  # type: ignore[arg-type]  # a QueryDict or None
        self.kind = KINDS[kind]
        for name in (*self.kind.options, *self.kind.secrets):
            label, text = OF_KINDS.get((kind, name)) or OF_STORES[name][:2]
            is_secret = name in self.kind.secrets
            is_kept = is_secret and stream is not None
            self.fields[name] = forms.CharField(
                max_length=10_000,
                label=label,
                help_text=f"{text} Empty: it stays as it is.".strip() if is_kept else text,
                required=name not in OPTIONAL and not is_kept,
                widget=_widget(name, is_secret=is_secret),
            )
        self.fields["has_people"] = forms.BooleanField(
            required=False,
            label="With names",
            help_text="Each event says whom its pseudonyms stand for. What was sent, we cannot erase.",
        )
        self.fields["has_ocsf"] = forms.BooleanField(
            required=False, label="With OCSF", help_text="Each event in the words of OCSF 1.3, beside its exact body."
        )
        if stream is None:
            self.fields["from_beginning"] = forms.BooleanField(
                required=False, label="From the beginning", help_text="Else with what happens from now on."
            )

    def asked(self) -> dict[str, Any]:
        """The arguments of the service, without the kind."""
        chosen = self.cleaned_data
        flags = [name for name in ("has_people", "has_ocsf", "from_beginning") if name in self.fields]
        return {
            "name": chosen["name"],
            "options": {one: chosen[one] for one in self.kind.options if chosen[one]},
            "secrets": {one: chosen[one] for one in self.kind.secrets if chosen[one]},
            **{name: chosen[name] for name in flags},
        }


class PlaceForm(forms.Form):
    """Where a stream goes on: one of the two."""

    seq = forms.IntegerField(
        min_value=0, required=False, label="Place", help_text="Of the event that is sent next: 0 is the first of all."
    )
    since = forms.DateTimeField(
        required=False,
        label="Or from",
        help_text="UTC. The first event from then on.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )


def _widget(name: str, *, is_secret: bool) -> forms.Widget:
    plain = {"autocomplete": "off", "spellcheck": "false"}
    if name in {"ca_certificate", "service_account"}:
        return forms.Textarea(attrs={**plain, "rows": 6})
    if is_secret and name != "access_key_id":
        return forms.PasswordInput(attrs={**plain, "autocomplete": "new-password"})
    return forms.TextInput(attrs=plain)
