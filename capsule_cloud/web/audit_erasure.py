"""Erases a person from the audit log: who it is, what it means, and yes."""

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from capsule_cloud.web.console import attempt, page, sensitive, show
from tenancy.access import MemberPrincipal
from tenancy.audit import people
from tenancy.roles import Right


class ErasureForm(forms.Form):
    """Who is erased, why, and that it is meant."""

    kind = forms.ChoiceField(label="Who it is", choices=people.PersonKind.choices)
    subject_id = forms.CharField(
        label="Their id",
        max_length=255,
        help_text='Open one of their events in the log and choose "erase…" there: then it stands here.',
    )
    reason = forms.CharField(
        label="Why", max_length=200, help_text="It is recorded, and cannot be changed: name nobody."
    )
    confirmation = forms.CharField(
        label="Type ERASE to confirm", widget=forms.TextInput(attrs={"autocomplete": "off", "class": "mono"})
    )

    def clean_confirmation(self) -> str:
        """The word itself, or an error."""
        if self.cleaned_data["confirmation"].strip() != "ERASE":
            raise forms.ValidationError("Type ERASE to confirm.")
        return "ERASE"


@page(Right.AUDIT_ERASE)
@sensitive
def erase(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Erase what the log keeps of a person, after the owner signed in again."""
    form = ErasureForm(request.POST or None, initial=request.GET.dict())
    erased = attempt(member, form, lambda: _erase(member, form))
    if erased is None:
        return show(request, member, "web/audit_erase.html", "audit", form=form)
    messages.success(request, f"The person is erased: {erased} names, addresses and user agents are gone.")
    return redirect("audit", slug=member.slug)


def _erase(member: MemberPrincipal, form: ErasureForm) -> int:
    said = form.cleaned_data
    return people.erase(kind=said["kind"], subject_id=said["subject_id"], actor=member.actor, reason=said["reason"])
