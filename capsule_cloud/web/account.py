"""The overview of a person's account; the pages behind it are allauth's, in our templates."""

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from capsule_cloud.web import forms
from capsule_cloud.web.console import signed_in
from tenancy.errors import Invalid
from tenancy.services import accounts
from tenancy.sso.sessions import memberships_of


@require_safe
@login_required
def overview(request: HttpRequest) -> HttpResponse:
    """The person's name, how well the account is protected, and where to change it."""
    return _overview(request, forms.NameForm(initial={"name": signed_in(request).name}))


@require_POST
@login_required
def rename(request: HttpRequest) -> HttpResponse:
    """Change the person's own name."""
    form = forms.NameForm(request.POST)
    if form.is_valid():
        try:
            accounts.rename(user=signed_in(request), name=form.cleaned_data["name"])
        except Invalid as failure:
            form.add_error("name", str(failure))
        else:
            messages.success(request, "Your name is changed.")
            return redirect("account")
    return _overview(request, form)


@require_POST
@login_required
def end_session(request: HttpRequest, session_id: int) -> HttpResponse:
    """Sign one browser of this person out."""
    session = get_object_or_404(UserSession, pk=session_id, user=signed_in(request))
    session.end()
    messages.success(request, "That browser is signed out.")
    return redirect("usersessions_list")


def _overview(request: HttpRequest, form: forms.NameForm) -> HttpResponse:
    user = signed_in(request)
    kinds = list(Authenticator.objects.filter(user=user).values_list("type", flat=True))
    context = {
        "name_form": form,
        "email": EmailAddress.objects.get_primary(user),
        "has_totp": Authenticator.Type.TOTP in kinds,
        "passkeys": kinds.count(Authenticator.Type.WEBAUTHN),
        "has_recovery_codes": Authenticator.Type.RECOVERY_CODES in kinds,
        "sessions": len(UserSession.objects.purge_and_list(user)),
        "mine": memberships_of(request),
    }
    return render(request, "web/account.html", context, status=422 if form.errors else 200)
