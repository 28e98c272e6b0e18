"""What people type about money, caps and whom invoices name, parsed; the rules themselves are the services'."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from django import forms

from billing.models import SeatPolicy
from billing.plans import ALLOWANCE_NAMES, GB, Allowance
from billing.quotas.models import Level, Reaction, Span
from capsule_cloud.web.forms import Lines
from tenancy.models import ApiKey, Project

MOST_MONEY = Decimal(1_000_000)
MOST_UNITS = 2**53
# The kinds of tax ids that most customers have; Stripe knows about a hundred
TAX_IDS = (
    ("eu_vat", "EU VAT number"),
    ("gb_vat", "UK VAT number"),
    ("us_ein", "US EIN"),
    ("ch_vat", "Swiss VAT number"),
    ("no_vat", "Norwegian VAT number"),
    ("ca_gst_hst", "Canadian GST/HST number"),
    ("au_abn", "Australian ABN"),
    ("nz_gst", "New Zealand GST number"),
    ("in_gst", "Indian GSTIN"),
    ("jp_trn", "Japanese registration number"),
    ("sg_gst", "Singaporean GST number"),
    ("br_cnpj", "Brazilian CNPJ"),
)
ADDRESS = ("line1", "line2", "city", "state", "postal_code", "country")


class Minor(forms.DecimalField):
    """An amount as people write it, `25.00`; its value is in minor units."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=Decimal(0), max_value=MOST_MONEY, max_digits=12, decimal_places=2, **kwargs)

    def clean(self, value: Any) -> Any:
        """Whole minor units."""
        amount = super().clean(value)
        return None if amount is None else int(amount * 100)

    def prepare_value(self, value: Any) -> Any:
        """Minor units that were not typed, as people write them."""
        return f"{Decimal(value) / 100:.2f}" if isinstance(value, int) else value


class TopUpForm(forms.Form):
    """Credits to buy."""

    amount = Minor(label="Amount in US dollars", initial=50_00, help_text="Paid with the card on file, at once.")


class AutoTopUpForm(forms.Form):
    """When credits buy themselves."""

    is_on = forms.BooleanField(required=False, label="Buy credits automatically")
    threshold = Minor(label="When less is left than, in US dollars", initial=10_00)
    amount = Minor(label="Buy, in US dollars", initial=50_00)
    monthly_maximum = Minor(label="In a calendar month at most, in US dollars", initial=200_00)


class CapForm(forms.Form):
    """How much somebody may use."""

    allowance = forms.ChoiceField(label="Of what")
    subject = forms.ChoiceField(label="For whom")
    amount = forms.DecimalField(
        label="At most",
        min_value=Decimal(0),
        max_digits=18,
        decimal_places=3,
        help_text="Operations, documents or end users; of stored bytes in GB.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    span = forms.ChoiceField(label="In a", choices=Span.choices)
    reaction = forms.ChoiceField(
        label="Then",
        choices=Reaction.choices,
        initial=Reaction.STOP.value,
        widget=forms.RadioSelect,
        help_text="Recalls and other reads go on whatever you choose.",
    )

    def __init__(
        self, allowances: Iterable[Allowance], projects: Sequence[Project], keys: Sequence[ApiKey], data: Any = None
    ) -> None:
        super().__init__(data)
        self.fields["allowance"].choices = [  # type: ignore[attr-defined]
            (one.value, ALLOWANCE_NAMES[one].partition(" (")[0]) for one in Allowance if one in set(allowances)
        ]
        self.fields["subject"].choices = [  # type: ignore[attr-defined]
            (Level.ORGANIZATION.value, "The whole organization"),
            *((f"{Level.PROJECT}:{one.pk}", f"Project {one.name}") for one in projects),
            *((f"{Level.KEY}:{one.pk}", f"Key {one.name} ({one.hint}…)") for one in keys),
        ]

    def clean(self) -> dict[str, Any]:
        """The amount in whole units of what it is of."""
        cleaned: dict[str, Any] = super().clean() or {}
        amount = cleaned.get("amount")
        if amount is not None:
            units = amount * GB if cleaned.get("allowance") == Allowance.STORED_BYTES else amount
            if units != units.to_integral_value() or units > MOST_UNITS:
                self.add_error("amount", "Write a whole number that is not quite so large.")
            cleaned["amount"] = int(units)
        return cleaned


class WatchForm(forms.Form):
    """At which parts of a cap to write."""

    allowance = forms.ChoiceField(choices=[(one.value, ALLOWANCE_NAMES[one]) for one in Allowance])
    percents = forms.CharField(required=False, max_length=100, label="Percentages")

    def clean_percents(self) -> list[int]:
        """Whole numbers; none where nothing was written."""
        words = self.cleaned_data["percents"].replace("%", " ").replace(",", " ").split()
        if not all(word.isascii() and word.isdigit() and len(word) < 6 for word in words):
            raise forms.ValidationError("Write percentages, like 50, 80, 100.")
        return [int(word) for word in words]


class DetailsForm(forms.Form):
    """What invoices say about the customer, and who gets them."""

    legal_name = forms.CharField(
        required=False, max_length=200, label="Name on invoices", help_text="Else the organization's name."
    )
    invoice_emails = Lines(
        required=False, label="Invoices go to", help_text="E-mail addresses, one a line, ten at most."
    )
    po_number = forms.CharField(
        required=False, max_length=30, label="Purchase order", help_text="Stands on every invoice from now on."
    )
    line1 = forms.CharField(required=False, max_length=200, label="Street")
    line2 = forms.CharField(required=False, max_length=200, label="Building or floor")
    postal_code = forms.CharField(required=False, max_length=20, label="Postal code")
    city = forms.CharField(required=False, max_length=100, label="City")
    state = forms.CharField(required=False, max_length=100, label="State or region")
    country = forms.RegexField(
        required=False,
        regex=r"^[A-Za-z]{2}$",
        label="Country",
        help_text="Two letters, like DE or US.",
        error_messages={"invalid": "Write the country as two letters, like DE or US."},
    )

    def clean_country(self) -> str:
        """In capitals, as ISO 3166 has it."""
        return str(self.cleaned_data["country"]).upper()

    def about(self) -> list[forms.BoundField]:
        """The fields that are no part of the address."""
        return [bound for bound in self if bound.name not in ADDRESS]

    def places(self) -> list[forms.BoundField]:
        """The parts of the address."""
        return [bound for bound in self if bound.name in ADDRESS]

    def address(self) -> dict[str, str]:
        """The parts that were written."""
        return {part: self.cleaned_data[part] for part in ADDRESS if self.cleaned_data[part]}


class TaxIdForm(forms.Form):
    """A tax id to add."""

    kind = forms.ChoiceField(choices=TAX_IDS, label="Kind")
    tax_id = forms.CharField(max_length=60, label="Number", widget=forms.TextInput(attrs={"autocomplete": "off"}))


class SeatPolicyForm(forms.Form):
    """Which people are paid for."""

    seat_policy = forms.ChoiceField(choices=SeatPolicy.choices, label="Seats count", widget=forms.RadioSelect)
