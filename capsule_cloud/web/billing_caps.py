"""Caps and alerts: how much may be used, what happens then, and when to be told."""

from dataclasses import dataclass
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from billing import plan_words
from billing.plans import ALLOWANCE_NAMES, Allowance
from billing.quotas import parking, selectors, services
from billing.quotas.models import Cap, Level, Reaction
from billing.selectors.caps import used_of
from capsule_cloud.web.billing_forms import CapForm, WatchForm
from capsule_cloud.web.billing_frame import billing_page
from capsule_cloud.web.console import attempt, page, perform
from tenancy.access import MemberPrincipal
from tenancy.roles import Right
from tenancy.selectors import keys, projects

NEAR, FULL = 0.8, 1.0
OFFERED = [one for one in Allowance if one in services.CAPPED]


@dataclass(frozen=True, slots=True)
class ShownCap:
    """A cap as people read it, and how far it is used; `share` is above 1 where writes go on past it."""

    cap: Cap
    whose: str
    amount: str
    used: str
    share: float

    @property
    def level(self) -> str:
        """The colour of its bar: "", warn or bad."""
        return "bad" if self.share >= FULL else "warn" if self.share >= NEAR else ""


@require_safe
@page(Right.BILLING_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Every cap of the customer's own, and at which parts of it they are told."""
    return _show(request, member, _cap_form())


@require_POST
@page(Right.BILLING_WRITE)
def put(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Choose a cap, or choose it anew."""
    form = _cap_form(request.POST)
    cap = attempt(member, form, lambda: _set(form, member))
    if cap is None:
        return _show(request, member, form)
    messages.success(request, "The cap holds within a second.")
    return redirect("billing_caps", slug=member.slug)


@require_POST
@page(Right.BILLING_WRITE)
def clear(request: HttpRequest, member: MemberPrincipal, cap_id: UUID) -> HttpResponse:
    """Take a cap away."""
    perform(request, member, lambda: services.clear_cap(actor=member.actor, cap_id=cap_id), "The cap is gone.")
    return redirect("billing_caps", slug=member.slug)


@require_POST
@page(Right.BILLING_WRITE)
def watch(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Choose at which percentages to be told."""
    form = WatchForm(request.POST)
    if form.is_valid():
        perform(request, member, lambda: services.set_watch(actor=member.actor, **form.cleaned_data), "Saved.")
    else:
        messages.error(request, "Write percentages, like 50, 80, 100.")
    return redirect("billing_caps", slug=member.slug)


def _cap_form(data: object = None) -> CapForm:
    return CapForm(OFFERED, projects(), keys(), data)


def _set(form: CapForm, member: MemberPrincipal) -> Cap:
    asked = form.cleaned_data
    level, _, subject = asked["subject"].partition(":")
    return services.set_cap(
        actor=member.actor,
        allowance=asked["allowance"],
        level=level,
        subject_id=UUID(subject) if subject else member.organization_id,
        amount=asked["amount"],
        reaction=asked["reaction"],
        span=asked["span"],
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """What waits for caps to lift, of as much as may; shares are of 1."""

    writes: int
    bytes: int
    failed: int
    most_writes: int = parking.MOST_WRITES
    most_bytes: int = parking.MOST_BYTES

    @property
    def shares(self) -> tuple[float, float]:
        """How far the two limits are used."""
        return self.writes / self.most_writes, self.bytes / self.most_bytes


def _kept(caps: list[Cap]) -> Kept | None:
    """None where nothing is kept, and no cap keeps anything."""
    found = selectors.parked()
    if not found.writes and all(cap.reaction != Reaction.PARK for cap in caps):
        return None
    return Kept(found.writes, found.bytes, found.failed)


def _show(request: HttpRequest, member: MemberPrincipal, form: CapForm) -> HttpResponse:
    names = dict(form.fields["subject"].choices)  # type: ignore[attr-defined]
    caps = selectors.caps()
    used = used_of(caps)
    shown = [
        ShownCap(
            cap,
            names.get(
                Level.ORGANIZATION if cap.level == Level.ORGANIZATION else f"{cap.level}:{cap.subject_id}", "Gone"
            ),
            plan_words.quantity(Allowance(cap.allowance), cap.amount),
            plan_words.quantity(Allowance(cap.allowance), used[cap.pk]),
            used[cap.pk] / cap.amount if cap.amount else FULL,
        )
        for cap in caps
    ]
    watches = selectors.watches()
    return billing_page(
        request,
        member,
        "web/billing_caps.html",
        "billing_caps",
        form=form,
        caps=shown,
        as_of_now=timezone.now(),
        kept=_kept(caps),
        watches=[
            (
                one,
                ALLOWANCE_NAMES[one].partition(" (")[0],
                ", ".join(map(str, watches.get(one, services.DEFAULT_PERCENTS))),
            )
            for one in Allowance
        ],
    )
