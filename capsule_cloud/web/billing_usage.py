"""The usage explorer: what was called or sampled, by meter, project, key or end user: a chart, a table, a CSV file."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from billing.metering.export import Wanted, csv_lines
from billing.metering.meters import COUNTERS, GAUGES, Meter
from billing.metering.selectors import TooManyPoints, UsagePoint, usage
from billing.plans import ALLOWANCE_METERS, Allowance
from billing.quotas.selectors import billing_period
from capsule_cloud.web.chart import BYTES, CALLS, COLOURS, Chart, Unit, short_number, stacked
from capsule_cloud.web.console import page, show
from tenancy.access import MemberPrincipal
from tenancy.models import ApiKey, Project
from tenancy.roles import Right
from tenancy.scope import scope

CALLED = {meter.value: meter.label for meter in Meter if meter in COUNTERS}
SAMPLED = {meter.value: meter.label for meter in Meter if meter in GAUGES}
OPERATIONS = "operations"
GROUPS = {"meter": "meter", "project": "project", "key": "API key", "end_user": "end user"}
LONGEST = {"hour": 7, "day": 92, "month": 1100}  # days that a chart has room for
EARLIEST, LATEST = date(2000, 1, 1), date(2200, 1, 1)
OTHERS = "\x00others"  # no thing is called so
SAMPLED_BY = ("meter", "project")  # no key and no end user is behind a sample


class UsageForm(forms.Form):
    """Which usage; every day begins at midnight UTC, and the last one is included."""

    since = forms.DateField(label="From", widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="To", widget=forms.DateInput(attrs={"type": "date"}))
    grain = forms.ChoiceField(label="Each", choices=[(grain, f"Each {grain}") for grain in LONGEST])
    by = forms.ChoiceField(label="Split by", choices=[(key, f"By {name}") for key, name in GROUPS.items()])
    what = forms.ChoiceField(
        label="What",
        required=False,
        choices=[
            ("Calls", [("", "Every call"), (OPERATIONS, "Memory operations"), *CALLED.items()]),
            ("Sampled once a day", list(SAMPLED.items())),
        ],
    )
    project = forms.ChoiceField(label="Project", required=False)
    end_user = forms.CharField(
        label="End user", required=False, max_length=255, widget=forms.TextInput(attrs={"placeholder": "Any end user"})
    )

    def __init__(self, projects: list[Project], data: dict[str, Any]) -> None:
        super().__init__(data)
        self.projects = {one.slug: one for one in projects}
        self.fields["project"].choices = [  # type: ignore[attr-defined]
            ("", "Every project"),
            *((one.slug, one.name) for one in projects),
        ]

    def clean(self) -> dict[str, Any]:
        """A span of days that a chart has room for."""
        cleaned: dict[str, Any] = super().clean() or {}
        since, until, grain = cleaned.get("since"), cleaned.get("until"), cleaned.get("grain")
        if since and until and grain:
            if not EARLIEST <= since <= until <= LATEST:
                raise forms.ValidationError("The first day comes before the last one, both from 2000 to 2200.")
            if (until - since).days >= LONGEST[grain]:
                raise forms.ValidationError(f"Choose at most {LONGEST[grain]} days at a time for each {grain}.")
        if cleaned.get("what") in SAMPLED:
            name = SAMPLED[cleaned["what"]]
            if grain == "hour":
                raise forms.ValidationError(f"{name} are sampled once a day: choose each day or each month.")
            if cleaned.get("by", "meter") not in SAMPLED_BY or cleaned.get("end_user"):
                raise forms.ValidationError(f"{name} are sampled of projects: split by meter or by project.")
        return cleaned

    def wanted(self) -> Wanted:
        """What was asked for; the form is valid."""
        asked = self.cleaned_data
        project = self.projects.get(asked["project"])
        meters: dict[str, list[str]] = {
            "": sorted(CALLED),
            OPERATIONS: sorted(ALLOWANCE_METERS[Allowance.OPERATIONS]),
        }
        return Wanted(
            since=datetime.combine(asked["since"], time.min, UTC),
            until=datetime.combine(asked["until"] + timedelta(days=1), time.min, UTC),
            grain=asked["grain"],
            group_by=tuple(dict.fromkeys(("meter", asked["by"]))),
            meters=tuple(meters.get(asked["what"], [asked["what"]])),
            project_id=project.pk if project else None,
            end_user=asked["end_user"],
        )


@dataclass(frozen=True, slots=True)
class Explored:
    """What the page shows: a chart, its series with their share of the total, and as of when."""

    chart: Chart
    as_of: datetime

    @property
    def shares(self) -> list[tuple[str, str, int, float]]:
        """Colour, name, quantity and share of the total, the largest first."""
        most = self.chart.total or 1
        rows = sorted(self.chart.series, key=lambda series: -series.total)
        return [(series.css, series.label, series.total, series.total / most) for series in rows]

    @property
    def figures(self) -> list[tuple[str, str]]:
        """Three numbers that sum the chart up, with their names."""
        chart, say = self.chart, self.chart.unit.say
        totals = [column.total for column in chart.columns]
        highest = (f"Highest {chart.grain}", say(max(totals)))
        if chart.is_sampled:
            latest = next((total for total in reversed(totals) if total), 0)
            return [("Latest", say(latest)), ("On average", say(chart.total)), highest]
        average = round(chart.total / len(totals))  # of all columns, those without a call too
        return [("In total", say(chart.total)), (f"A {chart.grain}, on average", say(average)), highest]


@require_safe
@page(Right.USAGE_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """The chart and the table of what was asked for; this period's calls by meter when nothing was."""
    form, explored, has_file = _form(request), None, False
    if form.is_valid():
        has_file = True
        try:
            explored = _explore(form.wanted(), form.cleaned_data["by"])
        except TooManyPoints:
            form.add_error(
                None, "That is too much for one chart: choose fewer days, or a longer step. The CSV has all."
            )
    is_part = bool(request.headers.get("HX-Request"))
    return show(
        request,
        member,
        "web/billing_usage_part.html" if is_part else "web/billing_usage.html",
        "usage",
        form=form,
        selects=[form[name] for name in ("by", "what", "grain", "project")],
        explored=explored,
        by=GROUPS.get(form["by"].value(), ""),
        has_file=has_file,
        query=request.GET.urlencode(),
    )


@require_safe
@page(Right.USAGE_READ, is_scoped=False)
def download(request: HttpRequest, member: MemberPrincipal) -> HttpResponse | StreamingHttpResponse:
    """The same as CSV, written while it is read."""
    with scope(member.organization_id):
        form = _form(request)
    if not form.is_valid():
        return HttpResponse(form.errors.as_text(), status=422, content_type="text/plain; charset=utf-8")
    wanted = form.wanted()
    answer = StreamingHttpResponse(csv_lines(member.organization_id, wanted), content_type="text/csv; charset=utf-8")
    days = f"{form.cleaned_data['since']}_{form.cleaned_data['until']}"
    name = f"usage_{member.slug}_{days}_as_of_{timezone.now():%Y%m%dT%H%M%SZ}.csv"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _form(request: HttpRequest) -> UsageForm:
    projects = list(Project.objects.order_by("name"))  # archived ones have used something too
    period = billing_period()
    today = timezone.now().date()
    start = max(period.starts_at.date(), today - timedelta(days=LONGEST["day"] - 1))
    data: dict[str, Any] = {"since": start, "until": today, "grain": "day", "by": "meter"}
    data |= {name: request.GET[name] for name in UsageForm.base_fields if name in request.GET}
    return UsageForm(projects, data)


def _explore(wanted: Wanted, by: str) -> Explored:
    gauge = next((meter for meter in wanted.meters if meter in SAMPLED), "")
    found = usage(
        meter=gauge,
        since=wanted.since,
        until=wanted.until,
        grain=wanted.grain,
        group_by=wanted.group_by,
        project_id=wanted.project_id,
        end_user=wanted.end_user,
    )
    points = [point for point in found.points if point.group["meter"] in wanted.meters]
    names = _names(points, by)
    chart = stacked(
        [(point.at, _key(point, by) if _key(point, by) in names else OTHERS, point.quantity) for point in points],
        names=names,
        moments=_moments(wanted),
        grain=wanted.grain,
        unit=_unit(gauge),
        is_sampled=bool(gauge),
    )
    return Explored(chart, found.as_of)


def _unit(gauge: str) -> Unit:
    if gauge == Meter.STORED_BYTES:
        return BYTES
    return Unit(SAMPLED[gauge], "{:,}".format, short_number) if gauge else CALLS


def _key(point: UsagePoint, by: str) -> str:
    return str(point.group[by] or "")


def _names(points: Iterable[UsagePoint], by: str) -> dict[str, str]:
    """What each colour stands for: every meter, else the largest few and everything else."""
    if by == "meter":
        return CALLED | SAMPLED
    sums: Counter[str] = Counter()
    for point in points:
        sums[_key(point, by)] += point.quantity
    largest = [key for key, _ in sums.most_common(COLOURS - 1)]
    labels = _labels(largest, by)
    names = {key: _called(key, by, labels) for key in largest}
    return names | ({OTHERS: "Everything else"} if len(sums) > len(largest) else {})


def _labels(keys: list[str], by: str) -> dict[str, str]:
    ids = [key for key in keys if key]
    if by == "project":
        return {str(one.pk): one.name for one in Project.objects.filter(pk__in=ids)} | {str(UUID(int=0)): "No project"}
    if by == "key":
        return {str(one.pk): f"{one.name} ({one.hint}…)" for one in ApiKey.objects.filter(pk__in=ids)}
    return {}


def _called(key: str, by: str, labels: dict[str, str]) -> str:
    if not key:
        return "In the console" if by == "key" else "No end user named"
    return labels.get(key, key)


def _moments(wanted: Wanted) -> list[datetime]:
    moment, moments = wanted.since, []
    if wanted.grain == "month":
        moment = moment.replace(day=1)
    while moment < wanted.until:
        moments.append(moment)
        if wanted.grain == "month":
            moment = (moment + timedelta(days=32)).replace(day=1)
        else:
            moment += timedelta(hours=1) if wanted.grain == "hour" else timedelta(days=1)
    return moments
