"""Money, looked after by staff: the inbox of Stripe's events, and Stripe's objects as they were mirrored."""

from datetime import timedelta
from typing import Any, cast

from django.contrib import messages
from django.contrib.admin import SimpleListFilter, display
from django.contrib.admin.views.main import ChangeList
from django.db.models import F, QuerySet
from django.db.models.fields.json import KT
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from admin_portal import sessions
from admin_portal.base import LookAdmin, look, look_at_list, pretty, redacted, session_of
from admin_portal.models import StaffAct
from admin_portal.site import site
from billing.invoicing.selectors.invoices import organization_named
from billing.models import BillingAccount, StripeEvent
from billing.selectors import inbox
from billing.services import replays
from billing.stripe_events import MIRRORED
from tenancy.audit.services import Target
from tenancy.errors import Invalid, NotFound
from tenancy.scope import scope

REPLAYED = "replayed"
RELATED = 20
AGES = {
    "hour": ("In the last hour", timedelta(hours=1), None),
    "day": ("In the last day", timedelta(days=1), None),
    "week": ("In the last week", timedelta(days=7), None),
    "older": ("More than a day ago", None, timedelta(days=1)),
}


class TypeFilter(SimpleListFilter):
    """What happened, in Stripe's words."""

    title, parameter_name = "type", "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The types that there are."""
        types = StripeEvent.objects.order_by("type").values_list("type", flat=True).distinct()
        return [(one, one) for one in types]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Events of the type."""
        return queryset.filter(type=self.value()) if self.value() else queryset


class AgeFilter(SimpleListFilter):
    """When it came."""

    title, parameter_name = "age", "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """A few spans."""
        return [(key, name) for key, (name, _, _) in AGES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Events of that age."""
        _, newest, oldest = AGES.get(self.value() or "", ("", None, None))
        now = timezone.now()
        if newest is not None:
            queryset = queryset.filter(received_at__gte=now - newest)
        return queryset if oldest is None else queryset.filter(received_at__lt=now - oldest)


class OrganizationFilter(SimpleListFilter):
    """Whose it is: typed, because there are many."""

    title, parameter_name, template = "organization", "organization", "staff/organization_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """One, so that the box is shown."""
        return [("", "")]

    def others(self) -> list[tuple[str, str]]:
        """What else was chosen, for the box's form to keep."""
        return [(name, str(value)) for name, value in self.request.GET.items() if name != self.parameter_name]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Events of the organization's customer; none where it has none."""
        if not self.value():
            return queryset
        customer = _customer_of(self.value() or "")
        return queryset.filter(customer=customer) if customer else queryset.none()


class OwnedList(ChangeList):
    """A list whose rows know whose they are; two queries for all of them."""

    def get_results(self, request: HttpRequest) -> None:
        """As Django's, with `owner`."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        name = cast("OwnedAdmin", self.model_admin).customer_is
        customers = {row.pk: getattr(row, name) for row in self.result_list}
        owned = inbox.owners({one for one in customers.values() if one})
        for row in self.result_list:
            row.owner = owned.get(customers[row.pk])


def _customer_of(slug: str) -> str:
    try:
        organization_id = organization_named(slug)
    except NotFound:
        return ""
    with scope(organization_id):
        account = BillingAccount.objects.first()
    return (account.stripe_customer_id or "") if account else ""


class OwnedAdmin(LookAdmin):
    """Rows that may be a customer's of Stripe."""

    customer_is = "customer"  # the annotation that names it

    @display(description="Organization")
    def organization(self, row: Any) -> str:
        """Whose it is."""
        return row.owner.slug if row.owner else "–"  # noqa: RUF001  # no value

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that knows whose its rows are."""
        return OwnedList

    def things(self) -> str:
        """What the rows are, in the plural."""
        return str(self.opts.verbose_name_plural)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list. Every organization with a row on this page reads that it was looked at."""
        answer = super().changelist_view(request, extra_context)
        shown = answer.context_data.get("cl") if isinstance(answer, TemplateResponse) and answer.context_data else None
        if shown is not None:
            owned = [row.owner for row in shown.result_list if row.owner]
            look_at_list(request, self.things(), {owner.organization_id: owner.slug for owner in owned})
        return answer

    def link(self, key: str) -> SafeString:
        """The way to a row's page."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return format_html('<a href="{}">{}</a>', reverse(name, args=[key]), key)


class InboxAdmin(OwnedAdmin):
    """Stripe's events: what waits, what was given up and why, and starting them again."""

    list_display = ("received", "kind", "state", "event", "organization", "attempts", "problem")
    list_filter = ("status", TypeFilter, OrganizationFilter, AgeFilter)
    search_fields = ("=event_id", "=object_id")
    search_help_text = "The id of an event, or of the object that it is about"
    actions = ("replay_selected",)
    change_list_template = "staff/inbox.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[StripeEvent]:
        """Without their bodies."""
        return inbox.events()

    @display(description="Received (UTC)", ordering="received_at")
    def received(self, row: StripeEvent) -> str:
        """When it came."""
        return f"{row.received_at:%Y-%m-%d %H:%M:%S}"

    @display(description="Type", ordering="type")
    def kind(self, row: StripeEvent) -> str:
        """What happened."""
        return row.type

    @display(description="State", ordering="status")
    def state(self, row: StripeEvent) -> SafeString:
        """What became of it."""
        return format_html('<span class="state state-{}">{}</span>', row.status, row.get_status_display())

    @display(description="Event")
    def event(self, row: StripeEvent) -> SafeString:
        """Its id, and the way to its page."""
        return self.link(row.event_id)

    @display(description="Error")
    def problem(self, row: StripeEvent) -> str:
        """The beginning of what went wrong."""
        return row.error[:80]

    def things(self) -> str:
        """As Stripe calls them."""
        return "events"

    def get_urls(self) -> list[URLPattern]:
        """Beside looking: starting again."""
        wrap = self.admin_site.admin_view
        return [
            path("replay/", wrap(self.replay_all), name="replay_dead"),
            path("<str:object_id>/replay/", wrap(require_POST(self.replay_one)), name="replay_event"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under the inbox's state. An organization that is named reads of it without a row, too."""
        if slug := request.GET.get("organization", ""):
            try:
                look_at_list(request, self.things(), {organization_named(slug): slug})
            except NotFound:
                messages.warning(request, f"There is no organization {slug}.")
        context = (extra_context or {}) | {"inbox": inbox.state(), "title": "Stripe’s events"}  # noqa: RUF001
        return super().changelist_view(request, context)

    def show(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """One event: what it says, without what is personal, what became of it, and who started it again."""
        event = inbox.events(text=object_id).filter(event_id=object_id).defer(None).first()
        if event is None:
            raise Http404
        customer = inbox.customer_of(event) or ""
        owner = inbox.owners([customer]).get(customer) if customer else None
        look(request, owner.organization_id if owner else None, Target("stripe_event", event.event_id, event.type))
        related = inbox.events(text=event.object_id).exclude(pk=event.pk)[:RELATED] if event.object_id else ()
        return self.page(
            request,
            "staff/event.html",
            title=event.type,
            event=event,
            owner=owner,
            customer=customer,
            body=pretty(redacted(event.body)),
            replays=StaffAct.objects.filter(what=REPLAYED, targets__contains=[event.event_id]).select_related(
                "session__user"
            )[:RELATED],
            related=related,
        )

    def replay_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Start one event again."""
        self._replay(request, [object_id])
        return redirect("admin:billing_stripeevent_change", object_id)

    def replay_all(self, request: HttpRequest) -> HttpResponse:
        """Ask, then start again every event that is given up."""
        state = inbox.state()
        if request.method != "POST":
            return self.page(request, "staff/replay_dead.html", title="Start again what was given up", inbox=state)
        session = session_of(request)
        ids = replays.replay_dead(actor=sessions.actor_of(session), reason=session.reason)
        if ids:
            sessions.note(session, REPLAYED, ids)
        messages.success(request, f"{len(ids)} started again.")
        return redirect("admin:billing_stripeevent_changelist")

    def replay_selected(self, request: HttpRequest, queryset: QuerySet[StripeEvent]) -> None:
        """Start the chosen events again."""
        self._replay(request, list(queryset.values_list("event_id", flat=True)))

    replay_selected.short_description = "Start the chosen events again"  # type: ignore[attr-defined]  # Django's way

    def _replay(self, request: HttpRequest, event_ids: list[str]) -> None:
        session = session_of(request)
        try:
            count = replays.replay(actor=sessions.actor_of(session), reason=session.reason, event_ids=event_ids)
        except Invalid as refusal:
            messages.error(request, str(refusal))
            return
        if not count:
            raise Http404
        sessions.note(session, REPLAYED, event_ids)
        messages.success(request, f"{count} started again: the workers take {'it' if count == 1 else 'them'} at once.")


class MirrorAdmin(OwnedAdmin):
    """Stripe's objects as they were fetched last; dj-stripe's own pages fail on them."""

    customer_is = "whose"  # dj-stripe has a `customer` of its own, which may lead nowhere
    list_display = ("object", "mode", "organization")
    change_list_template = "staff/objects.html"
    search_fields = ("=id",)
    search_help_text = "The id of an object, whole"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Newest first, without what they say."""
        is_customer = self.opts.model_name == "customer"
        rows: QuerySet[Any] = self.model._default_manager.annotate(
            whose=F("id") if is_customer else KT("stripe_data__customer")
        )
        return rows.order_by("-djstripe_id").only("id", "livemode")

    @display(description="Object")
    def object(self, row: Any) -> SafeString:
        """Its id, and the way to its page."""
        return self.link(row.id)

    @display(description="Mode", ordering="livemode")
    def mode(self, row: Any) -> str:
        """Whether real money is meant."""
        return "Live" if row.livemode else "Test"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under the objects' own name."""
        return super().changelist_view(request, {"title": self.things().capitalize()} | (extra_context or {}))

    def show(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What Stripe said, without what is personal."""
        row = self.get_queryset(request).filter(id=object_id).only("id", "livemode", "stripe_data").first()
        if row is None:
            raise Http404
        customer = row.whose or ""
        owner = inbox.owners([customer]).get(customer) if customer else None
        target = Target(f"stripe_{self.opts.model_name}", object_id, object_id)
        look(request, owner.organization_id if owner else None, target)
        return self.page(
            request,
            "staff/mirrored.html",
            title=object_id,
            owner=owner,
            body=pretty(redacted(row.stripe_data)),
        )


site.register(StripeEvent, InboxAdmin)
for model in MIRRORED.values():
    site.register(model, MirrorAdmin)
