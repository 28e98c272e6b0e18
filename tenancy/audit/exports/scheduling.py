"""Makes exports on a schedule: ranges follow each other in the trail, so that every event goes out exactly once."""

import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils.compat as uuid_utils
from django.utils import timezone

from capsule_cloud.lib.jobs import enqueue
from tenancy.audit import actions
from tenancy.audit.exports import services, targets
from tenancy.audit.exports.models import Export, Schedule
from tenancy.audit.sealing import selectors as seals
from tenancy.audit.sealing.models import Leaf
from tenancy.audit.selectors import first_id
from tenancy.audit.services import SYSTEM, Actor, record
from tenancy.audit.services import Target as AuditTarget
from tenancy.errors import Invalid, LimitReached, NotFound
from tenancy.scope import scope, unscoped
from tenancy.services import organizations

MOST = 20
MARGIN = timedelta(minutes=10)  # after a range's end: what was recorded in it is sealed by then
CAUGHT_UP_AT_ONCE = 31  # ranges of one schedule in one go, after an outage
log = logging.getLogger("audit.exports")


def audit_target(schedule: Schedule) -> AuditTarget:
    """A schedule as an audit target."""
    return AuditTarget("audit_schedule", str(schedule.pk), schedule.name)


def create(
    *,
    actor: Actor,
    name: str,
    every: str,
    target_id: UUID,
    wish: services.Wish,
    from_beginning: bool = False,
) -> Schedule:
    """Have everything from now on exported, a file for each day, week or month in UTC.

    The first file also holds what is older when it goes `from_beginning`. Raises Invalid, NotFound or LimitReached.
    """
    organizations.locked()
    if Schedule.objects.count() >= MOST:
        raise LimitReached(f"There are {MOST} schedules: delete one first.")
    if every not in Schedule.Every.values:
        raise Invalid("every", f"Choose one of {', '.join(Schedule.Every.values)}.")
    name = " ".join(name.split())
    if not 1 <= len(name) <= 64 or "\0" in name:
        raise Invalid("name", "Write a name of 1 to 64 characters.")
    size = 0 if from_beginning else seals.sealed_size()
    schedule = Schedule.objects.create(
        name=name,
        every=every,
        target=targets.get(target_id),
        range_start=start_of(every, timezone.now()),
        next_seq=size,
        **wish.columns(),
    )
    said = {"format": wish.form, "filters": schedule.filters, "every": every, "target": schedule.target.name}
    record(action=actions.SCHEDULE_CREATED, actor=actor, target=audit_target(schedule), metadata=said)
    return schedule


def pause(*, actor: Actor, schedule_id: UUID, is_paused: bool) -> Schedule:
    """Pause a schedule, or let it go on: then it makes what it missed. Raises NotFound."""
    schedule = _locked(schedule_id)
    if schedule.is_paused != is_paused:
        schedule.is_paused = is_paused
        schedule.save(update_fields=["is_paused"])
        action = actions.SCHEDULE_PAUSED if is_paused else actions.SCHEDULE_RESUMED
        record(action=action, actor=actor, target=audit_target(schedule))
    return schedule


def delete(*, actor: Actor, schedule_id: UUID) -> Schedule:
    """Make no more of these; returns what it was. Raises NotFound."""
    schedule = _locked(schedule_id)
    gone = audit_target(schedule)
    Export.objects.filter(schedule=schedule).update(schedule=None)
    schedule.delete()
    record(action=actions.SCHEDULE_DELETED, actor=actor, target=gone)
    return schedule


def start_of(every: str, moment: datetime) -> datetime:
    """When the range began that a moment lies in: midnight, Monday, or the first of the month, in UTC."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if every == Schedule.Every.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if every == Schedule.Every.MONTH else day


def end_of(every: str, start: datetime) -> datetime:
    """When the range that begins then ends."""
    if every == Schedule.Every.MONTH:
        return start_of(every, start + timedelta(days=32))
    return start + timedelta(days=7 if every == Schedule.Every.WEEK else 1)


def make_due(now: datetime | None = None) -> int:
    """Ask for every export whose range is over, also those that an outage left out; returns how many."""
    now = now or timezone.now()
    with unscoped(reason="schedules of every organization are kept by one loop") as wide:
        due = wide.rows("audit_exports_due", now, MARGIN)
    made = 0
    for row in due:
        try:
            made += _make(row["organization_id"], row["schedule_id"], now)
        except Exception:
            log.exception("audit.schedule_failed schedule=%s", row["schedule_id"])
    return made


def _make(organization_id: UUID, schedule_id: UUID, now: datetime) -> int:
    made = 0
    while made < CAUGHT_UP_AT_ONCE:
        with scope(organization_id):
            schedule = Schedule.objects.select_for_update().select_related(None).filter(pk=schedule_id).first()
            if schedule is None or schedule.is_paused:
                return made
            end = end_of(schedule.every, schedule.range_start)
            if end + MARGIN > now:
                return made
            _ask_for(schedule, end)
        made += 1
    return made


def _ask_for(schedule: Schedule, end: datetime) -> None:
    checkpoint = seals.latest_checkpoint()
    size = checkpoint.size if checkpoint else 0
    later = Leaf.objects.filter(seq__gte=schedule.next_seq, seq__lt=size, event_id__gte=first_id(end))
    last = later.order_by("seq").values_list("seq", flat=True).first()
    last = size if last is None else last
    pk = uuid_utils.uuid7()
    Export.objects.create(
        id=pk,
        label=services.label(schedule.range_start, pk),
        folder=services.new_folder(),
        format=schedule.format,
        compression=schedule.compression,
        action=schedule.action,
        actor=schedule.actor,
        on=schedule.on,
        has_people=schedule.has_people,
        since=schedule.range_start,
        until=end,
        first=schedule.next_seq,
        last=last,
        position=schedule.next_seq,
        checkpoint_size=size,
        proved_size=schedule.proved_size,
        target_id=schedule.target_id,
        schedule=schedule,
        created_by={"kind": SYSTEM.kind, "id": "", "label": schedule.name},
    )
    schedule.range_start, schedule.next_seq, schedule.proved_size = end, last, size
    schedule.save(update_fields=["range_start", "next_seq", "proved_size"])
    enqueue("audit_exports.write")


def _locked(schedule_id: UUID) -> Schedule:
    schedule = Schedule.objects.select_for_update(no_key=True).filter(pk=schedule_id).first()
    if schedule is None:
        raise NotFound("There is no such schedule.")
    return schedule
