"""Tells customers, once, what they asked to know: parts of a cap that are used, and use far above what is usual."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from django.utils import timezone

from billing import announcements, letters
from billing.metering.meters import COUNTERS, Meter
from billing.metering.selectors import usage
from billing.plans import Allowance
from billing.quotas import selectors
from billing.quotas.forecasts import Forecast, forecast
from billing.quotas.models import Level, Notice, Span
from billing.quotas.services import DEFAULT_PERCENTS
from tenancy.scope import scope, unscoped

BATCH = 1_000
LEAST = 100  # of a meter in an hour: below it nothing is unusual
TIMES, DEVIATIONS = 4.0, 6.0
LOOK_BACK = timedelta(hours=24)
WORDS = {
    Allowance.OPERATIONS: "operations",
    Allowance.DOCUMENTS: "documents",
    Allowance.STORED_BYTES: "stored bytes",
    Allowance.END_USERS: "active end users",
}
WHOSE = {Level.ORGANIZATION: "your organization", Level.PROJECT: "the project", Level.KEY: "the API key"}


def say_crossed() -> int:
    """Say each percentage of a cap that was crossed, once for a cap and a span; returns how many notices there are new.

    A changed cap is another one. Of several crossed at once the highest is mailed; all are on the page
    and go to webhook endpoints.
    """
    with unscoped(reason="who has crossed a threshold is one question for all organizations") as wide:
        rows = wide.rows("quotas_crossed", list(DEFAULT_PERCENTS), BATCH)
    said = 0
    for organization_id, crossed in groupby(rows, key=lambda row: row["organization_id"]):
        with scope(organization_id):
            for _, same in groupby(crossed, key=lambda row: (row["allowance"], row["subject_id"], row["span"])):
                said += _say(list(same))
    return said


def _say(crossed: list[dict[str, Any]]) -> int:
    """The notices of one counter, lowest first; the last one is mailed."""
    new = []
    for row in crossed:
        if (notice := _threshold(row)) is not None:
            new.append(notice)
            announcements.threshold_crossed(row, sentence=notice.sentence)
    if new:
        row = crossed[-1]
        context = {"notice": new[-1], "forecast": _forecast_of(row), "is_reached": new[-1].percent >= 100}
        letters.send(template="threshold", subject=new[-1].sentence, context=context)
    return len(new)


def _threshold(row: dict[str, Any]) -> Notice | None:
    """The new notice, or None: another sweep was faster."""
    whose = WHOSE[Level(row["level"])]
    if row["level"] != Level.ORGANIZATION:
        whose += f" {selectors.label(row['level'], row['subject_id']) or row['subject_id']}"
    span = "today" if row["span"] == Span.DAY else "this billing period"
    notice, is_new = Notice.objects.get_or_create(
        kind=Notice.Kind.THRESHOLD,
        what=row["allowance"],
        subject_id=row["subject_id"],
        span=row["span"],
        starts_at=row["starts_at"],
        percent=row["percent"],
        limit=row["cap"],
        defaults={
            "used": row["used"],
            "sentence": (
                f"{row['percent']} % of the {row['cap']:,} {WORDS[Allowance(row['allowance'])]} "
                f"of {whose} are used {span}"
            ),
        },
    )
    return notice if is_new else None


def say_lifted() -> int:
    """Say of each cap that was said to be reached that it holds nothing back any more, once; returns how many.

    Another period or day has begun, or the plan has another limit. A cap that the customer raises says so itself.
    """
    lifted = 0
    while True:
        with unscoped(reason="whose caps have lifted is one question for all organizations") as wide:
            rows = wide.rows("quotas_lifted", BATCH)
        for row in rows:
            with scope(row["organization_id"]):
                reached = Notice.objects.filter(pk__in=row["notices"], lifted_at=None)
                if reached.update(lifted_at=timezone.now()):  # else another sweep was faster
                    cap = {name: row[name] for name in ("allowance", "level", "subject_id", "span")}
                    announcements.cap_lifted(**cap, limit=row["cap"], key=str(row["notices"][-1]))
                    lifted += 1
        if len(rows) < BATCH:
            return lifted


def _forecast_of(row: dict[str, Any]) -> Forecast | None:
    if row["span"] == Span.DAY or row["allowance"] not in selectors.FLOWS:
        return None
    return forecast(Allowance(row["allowance"]), level=row["level"], subject_id=row["subject_id"], limit=row["cap"])


def say_unusual(*, now: datetime | None = None) -> int:
    """Say whose use of the last two hours stands out from the week before, once as long as it lasts.

    By a robust z-score on hourly sums, of every organization's keys in one question; returns the number of notices.
    """
    now = now or timezone.now()
    meters = [meter.value for meter in COUNTERS]
    with unscoped(reason="whose use stands out is one question for all organizations") as wide:
        rows = wide.rows("quotas_unusual", now, meters, LEAST, TIMES, DEVIATIONS)
    said = 0
    for organization_id, unusual in groupby(rows, key=lambda row: row["organization_id"]):
        with scope(organization_id):
            said += sum(_anomaly(row) for row in _first_of_each(unusual))
    return said


def _first_of_each(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        first.setdefault((row["project_id"], row["key_id"], row["meter"]), row)
    return list(first.values())


def _anomaly(row: dict[str, Any]) -> bool:
    usual = max(1, round(row["usual"]))
    begun = _begun(row, threshold=max(LEAST, int(TIMES * row["usual"])))
    if row["key_id"] is None:
        subject_id, whose = row["project_id"], f"project {selectors.label(Level.PROJECT, row['project_id']) or ''}"
    else:
        subject_id, whose = row["key_id"], f"key {selectors.label(Level.KEY, row['key_id']) or row['key_id']}"
    name = Meter(row["meter"]).value
    sentence = (
        f"{name} x{row['quantity'] / usual:.0f} since {begun:%H:%M} UTC, {whose}: {row['quantity']:,} in an hour, "
        f"usually {usual:,}"
    )
    notice, is_new = Notice.objects.get_or_create(
        kind=Notice.Kind.ANOMALY,
        what=name,
        subject_id=subject_id,
        span=Span.DAY,
        starts_at=begun,
        percent=100,
        limit=0,
        defaults={"used": row["quantity"], "sentence": sentence},
    )
    if is_new:
        letters.send(template="unusual", subject=sentence, context={"notice": notice})
        announcements.usage_unusual(
            meter=name, subject_id=subject_id, since=begun, used=row["quantity"], sentence=sentence
        )
    return is_new


def _begun(row: dict[str, Any], *, threshold: int) -> datetime:
    """The first of the hours in a row, up to this one, that are unusual too; at most LOOK_BACK before it."""
    hour: datetime = row["hour"]
    key_id: UUID | None = row["key_id"]
    found = usage(
        since=hour - LOOK_BACK,
        until=hour,
        grain="hour",
        group_by=("key",),
        project_id=row["project_id"],
        key_id=key_id,
        meter=row["meter"],
    )
    high = {point.at for point in found.points if point.group["key"] == key_id and point.quantity >= threshold}
    while hour - timedelta(hours=1) in high:
        hour -= timedelta(hours=1)
    return hour
